//! `keyless docs`.

use std::fs;
use std::path::Path;

use crate::{Scratch, keyless};

const END: &str = "<!-- keyless docs: end -->\n";

/// All pages of the documentation, as one text.
fn pages() -> String {
    let mut pages = String::new();
    for folder in ["../docs", "../docs/guides"] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages += &fs::read_to_string(path).unwrap();
            }
        }
    }
    pages
}

#[test]
fn the_tables_of_the_pages_are_those_of_the_program() {
    let said = keyless(&["docs"], "");
    assert_eq!(said.status, 0, "{}", said.err);
    let (pages, tables) = (pages(), said.out.split_inclusive(END).map(str::trim_start));
    let tables: Vec<_> = tables.collect();
    assert!(tables.len() >= 10, "{}", tables.len());
    for table in &tables {
        assert!(table.lines().count() > 4, "{table}");
        assert!(
            pages.contains(table),
            "run: cargo run -p keyless-cli -- docs --update docs\n{table}"
        );
    }
    let markers = pages.matches("<!-- keyless docs: ").count();
    assert_eq!(markers, 2 * tables.len(), "a table that nobody writes, or that stands twice");
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
    let updated = fs::read_to_string(file.path()).unwrap();
    assert!(updated.starts_with(&format!("{begin}| `result` | meaning |\n")), "{updated}");
    assert!(updated.ends_with(&format!("{END}after\n")) && !updated.contains("old"), "{updated}");
    assert_eq!(keyless(&["docs", "--update", "nothing.md"], "").status, 2);
}

#[test]
fn all_pages_of_a_folder_are_updated() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    let page = folder.join("guides/page.md");
    fs::create_dir_all(page.parent().unwrap()).unwrap();
    fs::write(&page, format!("<!-- keyless docs: fetches -->\nold\n{END}")).unwrap();
    assert_eq!(keyless(&["docs", "--update", folder.to_str().unwrap()], "").status, 0);
    assert!(!fs::read_to_string(page).unwrap().contains("old"));
}
