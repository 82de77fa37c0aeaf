//! Statements: text with the values of its placeholders, planned against the lake as it is now.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::common::{DataFusionError, ParamValues, ScalarValue};
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::DataFrame;
use datafusion::sql::sqlparser::ast::{Expr, Value, visit_expressions_mut};
use generel_pipeline::Session;
use tokio::sync::RwLock;
use tonic::Status;

/// How old a view of the lake may get.
const FRESH: Duration = Duration::from_secs(1);

/// A statement as it travels: the server keeps nothing of it, so that any server of a lake can run it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Statement {
    pub(super) sql: String,
    /// One row, a column a placeholder.
    pub(super) parameters: Option<RecordBatch>,
}

impl Statement {
    /// As bytes: the length of the text in four bytes, the text, the parameters as an Arrow IPC stream.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Status> {
        let length =
            u32::try_from(self.sql.len()).map_err(|_| Status::invalid_argument("the statement is too long"))?;
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(self.sql.as_bytes());
        if let Some(parameters) = &self.parameters {
            let mut writer = StreamWriter::try_new(&mut bytes, parameters.schema_ref()).map_err(internal)?;
            writer.write(parameters).and_then(|()| writer.finish()).map_err(internal)?;
        }
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Status> {
        let damaged = || Status::invalid_argument("this is no handle of this server");
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (sql, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
        let sql = String::from_utf8(sql.to_vec()).map_err(|_| damaged())?;
        let parameters = match rest {
            [] => None,
            rest => {
                let mut batches = StreamReader::try_new(rest, None).map_err(|_| damaged())?;
                Some(batches.next().ok_or_else(damaged)?.map_err(|_| damaged())?)
            }
        };
        Ok(Self { sql, parameters })
    }
}

/// The lake's queries.
pub(super) struct Statements {
    session: Session,
    /// When the tables were last looked at. Statements are planned while none is being replaced.
    looked: RwLock<Option<Instant>>,
}

impl Statements {
    pub(super) fn new(session: Session) -> Self {
        Self { session, looked: RwLock::new(None) }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Plans a query: nothing that writes, defines or sets, since the context is everybody's.
    pub(super) async fn plan(&self, statement: &Statement) -> Result<DataFrame, Status> {
        self.refresh().await?;
        let _planning = self.looked.read().await;
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let frame = self.parsed(&statement.sql, options).await.map_err(failed)?;
        let Some(parameters) = &statement.parameters else { return Ok(frame) };
        let columns = parameters.columns().iter();
        let values: Vec<ScalarValue> =
            columns.map(|c| ScalarValue::try_from_array(c, 0)).collect::<Result<_, _>>().map_err(failed)?;
        frame.with_param_values(ParamValues::from(values)).map_err(failed)
    }

    /// A query whose placeholders may be `$1` or, as most drivers write them, `?`.
    async fn parsed(&self, sql: &str, options: SQLOptions) -> datafusion::error::Result<DataFrame> {
        let ctx = self.session.ctx();
        let state = ctx.state();
        let mut parsed = state.sql_to_statement(sql, &state.config_options().sql_parser.dialect)?;
        if let datafusion::sql::parser::Statement::Statement(statement) = &mut parsed {
            let mut placeholders = 0;
            let _ = visit_expressions_mut(&mut **statement, |expr| {
                if let Expr::Value(value) = expr
                    && let Value::Placeholder(name) = &mut value.value
                    && name == "?"
                {
                    placeholders += 1;
                    *name = format!("${placeholders}");
                }
                ControlFlow::<()>::Continue(())
            });
        }
        let plan = state.statement_to_plan(parsed).await?;
        options.verify_plan(&plan)?;
        ctx.execute_logical_plan(plan).await
    }

    /// Sees what was committed to the lake, at most once a second.
    pub(super) async fn refresh(&self) -> Result<(), Status> {
        let is_fresh = |looked: &Option<Instant>| looked.is_some_and(|at| at.elapsed() < FRESH);
        if is_fresh(&*self.looked.read().await) {
            return Ok(());
        }
        let mut looked = self.looked.write().await;
        if !is_fresh(&looked) {
            self.session.refresh().await.map_err(|e| Status::unavailable(e.to_string()))?;
            *looked = Some(Instant::now());
        }
        Ok(())
    }
}

pub(super) fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

/// The client's fault or ours.
pub(super) fn failed(error: DataFusionError) -> Status {
    let message = error.strip_backtrace();
    match error.find_root() {
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => Status::invalid_argument(message),
        DataFusionError::ResourcesExhausted(_) => Status::resource_exhausted(message),
        _ => Status::internal(message),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[test]
    fn statements_travel() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["heart attack"]));
        let parameters = RecordBatch::try_from_iter([("1", texts)]).expect("a batch");
        for parameters in [None, Some(parameters)] {
            let statement = Statement { sql: "select embed($1)".into(), parameters };
            let bytes = statement.encode().expect("bytes");
            assert_eq!(Statement::decode(&bytes).expect("a statement"), statement);
            assert!(Statement::decode(&bytes[..bytes.len() / 2]).is_err());
        }
        assert!(Statement::decode(b"").is_err());
        assert!(Statement::decode(&[255; 9]).is_err());
    }
}
