//! `generel formats`: what can be ingested.

use std::io::Write;

use anyhow::Result;
use generel_pipeline::sources::FORMATS;

pub(super) fn run() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for format in FORMATS {
        let tables: Vec<&str> = format.tables().iter().map(|t| t.name).collect();
        writeln!(
            out,
            "{}\n  {}\n  fills: {}\n  {}\n",
            format.name(),
            format.doc(),
            tables.join(", "),
            format.example()
        )?;
    }
    Ok(())
}
