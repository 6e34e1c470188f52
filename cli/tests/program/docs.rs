//! `keyless docs`.

use crate::{Scratch, keyless};

const README: &str = include_str!("../../../README.md");

/// The page that holds the table of prices.
const USAGE: &str = include_str!("../../../docs/guides/usage-and-cost.md");

const END: &str = "<!-- keyless docs: end -->\n";

#[test]
fn the_tables_of_the_readme_are_those_of_the_program() {
    let said = keyless(&["docs"], "");
    assert_eq!(said.status, 0, "{}", said.err);
    let tables: Vec<_> = said.out.split_inclusive(END).map(str::trim_start).collect();
    assert_eq!(tables.len(), 10);
    for table in tables {
        assert!(table.lines().count() > 4, "{table}");
        assert!(
            [README, USAGE].iter().any(|page| page.contains(table)),
            "run: cargo run -p keyless-cli -- docs --update README.md\n{table}"
        );
    }
    assert_eq!(README.matches("<!-- keyless docs: ").count(), 18, "a table that nobody writes");
}

#[test]
fn every_cell_of_a_table_is_described() {
    let said = keyless(&["docs"], "");
    for line in said.out.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        assert!(!cells[2].is_empty(), "{line}");
    }
}

#[test]
fn a_document_is_updated_between_its_markers_only() {
    let begin = "before\n<!-- keyless docs: fetches -->\n";
    let file = Scratch::new("docs.md", &format!("{begin}old\n{END}after\n"));
    assert_eq!(keyless(&["docs", "--update", file.path()], "").status, 0);
    let updated = std::fs::read_to_string(file.path()).unwrap();
    assert!(updated.starts_with(&format!("{begin}| `result` | meaning |\n")), "{updated}");
    assert!(updated.ends_with(&format!("{END}after\n")) && !updated.contains("old"), "{updated}");
    assert_eq!(keyless(&["docs", "--update", "nothing.md"], "").status, 2);
}
