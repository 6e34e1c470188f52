//! `keyless usage`: sums up tokens and cost from access logs, by any of the logged fields.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use keyless_core::price::Cost;
use serde_json::{Map, Value, json};

use crate::error::CliError;
use crate::{Outcome, read};

/// What to sum up, and how to print it.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Access logs as `envoy.yaml` has them, one JSON object on a line; other lines are passed over, and
    /// `-` is stdin
    #[arg(required = true, value_name = "ACCESS-LOG")]
    files: Vec<PathBuf>,
    /// The fields to sum up by, such as `subject` or `client,deployment`
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', default_value = "route,deployment")]
    by: Vec<String>,
    /// How to print the sums
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Csv,
    Json,
    Table,
}

/// What the answers of one group used. Measured and estimated ones are in groups of their own.
#[derive(Debug, Default)]
struct Sum {
    answers: u128,
    input: u128,
    output: u128,
    cached: u128,
    reasoning: u128,
    /// Absent if none of them had a price.
    cost: Option<Cost>,
}

/// The sums, by the values of the fields, the last of which is `usage`.
type Sums = BTreeMap<Vec<String>, Sum>;

/// The field that says how sure it is what an answer used.
const BASIS: &str = "usage";

const COLUMNS: [&str; 6] = ["answers", "input", "output", "cached", "reasoning", "cost"];

/// What stands in place of a value that was not logged.
const NONE: &str = "-";

/// Sums up access logs.
///
/// # Errors
///
/// Returns which file could not be read.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, CliError> {
    let mut sums = Sums::new();
    for file in &arguments.files {
        let failed = |error| CliError::Read { file: file.clone(), error };
        let bytes = read(file).map_err(failed)?;
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(Value::Object(entry)) = serde_json::from_slice(line) {
                add(&mut sums, &arguments.by, &entry);
            }
        }
    }
    let fields = arguments.by.iter().map(String::as_str).chain([BASIS]);
    let fields: Vec<_> = fields.chain(COLUMNS).collect();
    let text = match arguments.format {
        Format::Csv => csv(&fields, &sums),
        Format::Json => in_json(&fields, &sums),
        Format::Table => table(&fields, &sums),
    };
    Ok(Outcome { text, is_success: true })
}

/// Adds what an entry of the log says, if its answer was counted.
fn add(sums: &mut Sums, by: &[String], entry: &Map<String, Value>) {
    let Some(basis) = entry.get(BASIS).and_then(Value::as_str) else { return };
    if !["absent", "estimated", "exact"].contains(&basis) {
        return;
    }
    let field = |name: &String| match entry.get(name) {
        None | Some(Value::Null) => NONE.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let key = by.iter().map(field).chain([basis.to_owned()]).collect();
    let sum = sums.entry(key).or_default();
    let count = |name: &str| number(entry.get(name)).unwrap_or_default();
    sum.answers += 1;
    sum.input += count("tokens_input");
    sum.output += count("tokens_output");
    sum.cached += count("tokens_cached");
    sum.reasoning += count("tokens_reasoning");
    if let Some(cost) = entry.get("cost").and_then(Value::as_str).and_then(Cost::parse) {
        sum.cost = Some(sum.cost.unwrap_or_default().plus(cost));
    }
}

/// Reads a count, which Envoy logs as a text.
fn number(value: Option<&Value>) -> Option<u128> {
    match value? {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().map(u128::from),
    }
}

impl Sum {
    fn cells(&self) -> [String; 6] {
        let Self { answers, input, output, cached, reasoning, cost } = self;
        let cost = cost.map_or_else(|| NONE.to_owned(), |cost| cost.to_string());
        let counts = [answers, input, output, cached, reasoning].map(u128::to_string);
        let [answers, input, output, cached, reasoning] = counts;
        [answers, input, output, cached, reasoning, cost]
    }
}

fn rows(sums: &Sums) -> impl Iterator<Item = Vec<String>> {
    sums.iter().map(|(key, sum)| key.iter().cloned().chain(sum.cells()).collect())
}

/// Columns of equal width: texts to the left, numbers to the right.
fn table(fields: &[&str], sums: &Sums) -> String {
    let head = fields.iter().map(|field| (*field).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows(sums)).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..fields.len()).map(width).collect();
    let texts = fields.len() - COLUMNS.len();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if at < texts { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// RFC 4180, with line feeds alone.
fn csv(fields: &[&str], sums: &Sums) -> String {
    let head = fields.iter().map(|field| (*field).to_owned()).collect();
    let line = |row: Vec<String>| row.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",");
    std::iter::once(head).chain(rows(sums)).map(|row| line(row) + "\n").collect()
}

/// A spreadsheet takes a text that begins like a formula for one; a caller chooses some of these texts.
fn quoted(cell: &str) -> String {
    let is_formula = cell.len() > 1 && cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = if is_formula { format!("'{cell}") } else { cell.to_owned() };
    let is_plain = !cell.contains([',', '"', '\n', '\r']);
    if is_plain { cell } else { format!("\"{}\"", cell.replace('"', "\"\"")) }
}

fn in_json(fields: &[&str], sums: &Sums) -> String {
    let texts = fields.len() - COLUMNS.len();
    let rows = sums.iter().map(|(key, sum)| {
        let texts = fields[..texts].iter().zip(key);
        let texts = texts.map(|(field, value)| ((*field).to_owned(), json!(value)));
        let Sum { answers, input, output, cached, reasoning, cost } = sum;
        let counts = [answers, input, output, cached, reasoning];
        let counts = counts.map(|count| json!(u64::try_from(*count).unwrap_or(u64::MAX)));
        let cost = json!(cost.map(|cost| cost.to_string()));
        let numbers = COLUMNS.map(str::to_owned).into_iter().zip(counts.into_iter().chain([cost]));
        Value::Object(texts.chain(numbers).collect())
    });
    format!("{:#}\n", Value::Array(rows.collect()))
}
