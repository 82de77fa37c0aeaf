//! `generel sql`: queries from the command line, a file, or a shell.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use generel_pipeline::Session;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::output::{Form, write};
use super::{LakeOptions, ModelOptions};
use crate::environment;
use crate::exit;
use crate::progress::note;
use crate::runner::session;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel sql -c 'select source, count(*) from concepts group by source'
  generel sql -c \"select concept_similarity('heart attack', 'myocardial infarction')\"
  generel sql -c \"select key, similarity_score from nearest('embeddings', 'high blood pressure', 5)\" --output csv
  generel sql -f report.sql --output parquet > report.parquet
  generel sql                                           a shell; \\d lists the tables, \\q leaves

Tables: concepts, concept_names, patient_events, kg_edges, gwas_associations, embeddings, mappings, quarantine, runs.
Functions: embed(text), cosine_similarity(vector, vector), concept_similarity(text, text), as_vector(list, model_id),
normalize_rsid(text), normalize_allele(text), curie(prefix, code), embed_snp(rsid, genes, chromosome, position, consequence),
snp_origin(…); table functions similarity_join('left', 'right', k, min_score), nearest('table', 'text', k, min_score),
nearest_snps('text', k, min_score), nearest_concepts('rsid', k, min_score, 'table').")]
pub(super) struct SqlArgs {
    /// The query; several are separated by semicolons
    #[arg(short = 'c', long = "command", value_name = "SQL", conflicts_with = "file", allow_hyphen_values = true)]
    command: Option<String>,
    /// A file with queries; - for stdin
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Form::Table)]
    output: Form,
    #[command(flatten)]
    lake: LakeOptions,
    #[command(flatten)]
    model: ModelOptions,
}

pub(super) async fn run(args: SqlArgs) -> Result<()> {
    let lake = args.lake.open_or_empty()?;
    let session = session(lake, args.model.choice().find()?).await?;
    let text = match (&args.command, &args.file) {
        (Some(command), _) => Some(command.clone()),
        (None, Some(file)) if file.as_os_str() == "-" => Some(read_stdin()?),
        (None, Some(file)) => Some(std::fs::read_to_string(file).with_context(|| file.display().to_string())?),
        (None, None) if !std::io::stdin().is_terminal() => Some(read_stdin()?),
        (None, None) => None,
    };
    let done = match text {
        Some(text) => run_all(&session, &text, args.output).await,
        None => shell(&session, args.output).await,
    };
    // Also of a query that failed half-way.
    session.keep_vectors().await;
    done
}

fn read_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

async fn run_all(session: &Session, text: &str, form: Form) -> Result<()> {
    for statement in statements(text) {
        let frame = session.ctx().sql(&statement).await.map_err(generel_pipeline::Error::from)?;
        write(frame, form, &mut std::io::stdout()).await?;
    }
    Ok(())
}

/// Splits at semicolons outside quotes and comments.
fn statements(text: &str) -> Vec<String> {
    let (mut all, mut current) = (Vec::new(), String::new());
    let mut quote: Option<char> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == '-' && chars.peek() == Some(&'-') => {
                while chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            None if c == ';' => {
                all.push(std::mem::take(&mut current));
                continue;
            }
            None => {}
        }
        current.push(c);
    }
    all.push(current);
    all.retain(|s| !s.trim().is_empty());
    all
}

async fn shell(session: &Session, form: Form) -> Result<()> {
    let mut editor = DefaultEditor::new()?;
    let history = environment::history_file();
    if let Some(history) = &history {
        let _ = editor.load_history(history);
    }
    note(format_args!("lake {}; end a query with ; \\d lists the tables, \\q leaves", session.lake.location()));
    let mut pending = String::new();
    loop {
        let line = match editor.readline(if pending.is_empty() { "generel> " } else { "      -> " }) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                pending.clear();
                continue;
            }
            Err(ReadlineError::Eof) => break,
            Err(other) => return Err(other.into()),
        };
        match line.trim() {
            "\\q" | "quit" | "exit" if pending.is_empty() => break,
            "\\d" if pending.is_empty() => pending.push_str("SHOW TABLES;"),
            _ => {
                pending.push_str(&line);
                pending.push('\n');
            }
        }
        if pending.trim_end().ends_with(';') {
            let text = std::mem::take(&mut pending);
            let _ = editor.add_history_entry(text.trim());
            if let Err(error) = run_all(session, &text, form).await {
                exit::report(&error);
            }
        }
    }
    if let Some(history) = &history {
        let _ = editor.save_history(history);
    }
    std::io::stdout().flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn splits_outside_quotes_and_comments() {
        assert_eq!(
            statements("select 1; select ';'; -- a; b\n select \"x;y\";\n"),
            ["select 1", " select ';'", " \n select \"x;y\""]
        );
        assert!(statements(" ; \n").is_empty());
    }
}
