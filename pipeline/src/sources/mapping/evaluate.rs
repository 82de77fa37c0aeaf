//! Expressions over the rows of a file: what they become, and which rows they cannot take.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::FormatOptions;
use datafusion::common::DFSchema;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionContext;
use generel_schemas::tables::PATIENT_EVENTS;
use generel_schemas::{RejectReason, Table, pvalue};

use super::file::{MappingFile, default, own_columns, table_named};
use crate::person::PersonKey;
use crate::{Error, Result};

/// A mapping ready to be applied to batches of one schema.
pub(super) struct Mapping {
    tables: Vec<TableMapping>,
    condition: Option<Arc<dyn PhysicalExpr>>,
    persons: Option<(PersonKey, String)>,
    /// Columns of the file that nothing but a person's identity is made of, and those that no expression uses.
    pub(super) masked: Vec<String>,
}

struct TableMapping {
    table: &'static Table,
    /// One for each of the table's own columns; `None` is NULL.
    columns: Vec<Option<Arc<dyn PhysicalExpr>>>,
}

/// Why a row is not taken: the lake's column and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) column: &'static str,
    pub(super) reason: RejectReason,
    pub(super) message: &'static str,
}

/// What rows became.
pub(super) struct Mapped {
    pub(super) batches: Vec<(&'static Table, RecordBatch)>,
    /// For each row: `None` taken, or ignored by the condition (`Some(Ok(()))`), or refused.
    pub(super) fates: Vec<Option<std::result::Result<(), Fault>>>,
}

impl Mapping {
    /// Compiles the expressions for a file's columns.
    pub(super) fn new(file: &MappingFile, schema: &Schema, persons: (PersonKey, String)) -> Result<Self> {
        let context = SessionContext::new();
        for function in generel_udfs::identifier_functions() {
            context.register_udf(function);
        }
        let names = DFSchema::try_from(schema.clone())?;
        let simplifier = ExprSimplifier::new(
            SimplifyContext::builder()
                .with_schema(Arc::new(names.clone()))
                .with_config_options(Arc::clone(context.state().config_options()))
                .with_query_execution_start_time(Some(chrono::Utc::now()))
                .build(),
        );
        let mut shown = BTreeSet::new();
        let compile = |sql: &str, place: &str| -> Result<(Arc<dyn PhysicalExpr>, Vec<String>)> {
            let wrong = |e: datafusion::error::DataFusionError| {
                let why = e.strip_backtrace();
                Error::Invalid(format!("mapping, {place}: {}", why.lines().next().unwrap_or_default()))
            };
            let expr = context.parse_sql_expr(sql, &names).map_err(wrong)?;
            let used = expr.column_refs().iter().map(|c| c.name.clone()).collect();
            // Some functions (coalesce, now, arrow_cast) exist only until they are rewritten.
            let expr = simplifier.coerce(expr, &names).and_then(|expr| simplifier.simplify(expr)).map_err(wrong)?;
            Ok((context.create_physical_expr(expr, &names).map_err(wrong)?, used))
        };
        let mut tables = Vec::new();
        for (name, given) in &file.tables {
            let Some(table) = table_named(name) else { continue };
            let mut columns = Vec::new();
            for column in own_columns(table) {
                let sql = given.get(column).map(String::as_str).or_else(|| default(table, column));
                let compiled = sql.map(|sql| compile(sql, &format!("{name}.{column}"))).transpose()?;
                if let Some((_, used)) = &compiled
                    && column != "person_id"
                {
                    shown.extend(used.iter().cloned());
                }
                columns.push(compiled.map(|(expr, _)| expr));
            }
            tables.push(TableMapping { table, columns });
        }
        let condition = file.condition.as_deref().map(|sql| compile(sql, "where")).transpose()?;
        if let Some((expr, _)) = &condition
            && expr.data_type(schema)? != DataType::Boolean
        {
            return Err(not_a_condition());
        }
        let has_persons = tables.iter().any(|t| t.table.name == PATIENT_EVENTS.name);
        let masked = match has_persons {
            true => schema.fields().iter().map(|f| f.name().clone()).filter(|n| !shown.contains(n)).collect(),
            false => Vec::new(),
        };
        Ok(Self { tables, condition: condition.map(|(e, _)| e), persons: has_persons.then_some(persons), masked })
    }

    /// Applies the mapping. A function that fails on one value fails a whole batch: then the rows are tried one by one.
    pub(super) fn apply(&self, batch: &RecordBatch) -> Result<Mapped> {
        if let Ok(mapped) = self.try_apply(batch) {
            return Ok(mapped);
        }
        let (mut batches, mut fates) = (Vec::<(&'static Table, RecordBatch)>::new(), Vec::new());
        for row in 0..batch.num_rows() {
            match self.try_apply(&batch.slice(row, 1)) {
                Ok(mapped) => {
                    batches.extend(mapped.batches);
                    fates.extend(mapped.fates);
                }
                Err((column, _)) => fates.push(Some(Err(Fault {
                    column,
                    reason: RejectReason::Malformed,
                    message: "the expression cannot be computed for the row's values",
                }))),
            }
        }
        let mut joined: Vec<(&'static Table, RecordBatch)> = Vec::new();
        for TableMapping { table, .. } in &self.tables {
            let of: Vec<&RecordBatch> = batches.iter().filter(|(t, _)| t.name == table.name).map(|(_, b)| b).collect();
            if let Some(first) = of.first() {
                joined.push((*table, concat_batches(&first.schema(), of.iter().copied())?));
            }
        }
        Ok(Mapped { batches: joined, fates })
    }

    fn try_apply(&self, batch: &RecordBatch) -> std::result::Result<Mapped, (&'static str, Error)> {
        let rows = batch.num_rows();
        let evaluate = |expr: &Arc<dyn PhysicalExpr>, column| -> std::result::Result<ArrayRef, (&'static str, Error)> {
            let value = expr.evaluate(batch).and_then(|v| v.into_array(rows));
            value.map_err(|e| (column, Error::from(e)))
        };
        let mut fates: Vec<Option<std::result::Result<(), Fault>>> = vec![None; rows];
        if let Some(condition) = &self.condition {
            let holds = evaluate(condition, "where")?;
            let holds = holds.as_boolean_opt().ok_or_else(|| ("where", not_a_condition()))?;
            for (row, fate) in fates.iter_mut().enumerate() {
                if !holds.is_valid(row) || !holds.value(row) {
                    *fate = Some(Ok(()));
                }
            }
        }
        let mut tables = Vec::new();
        for TableMapping { table, columns } in &self.tables {
            let mut arrays = Vec::new();
            for (column, expr) in table.columns[1..].iter().zip(columns) {
                let target = column.kind.data_type();
                let Some(expr) = expr else {
                    arrays.push(new_null_array(&target, rows));
                    continue;
                };
                let found = evaluate(expr, column.name)?;
                let value = self.convert(column.name, &found, &target).map_err(|e| (column.name, e))?;
                let given = found.logical_nulls();
                for (row, fate) in fates.iter_mut().enumerate() {
                    if fate.is_none() && value.is_null(row) {
                        if given.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                            *fate = Some(Err(unfit(column.name, &target)));
                        } else if !column.nullable {
                            let (reason, message) = (RejectReason::MissingValue, "a value is needed");
                            *fate = Some(Err(Fault { column: column.name, reason, message }));
                        }
                    }
                }
                arrays.push(value);
            }
            tables.push((*table, arrays));
        }
        let kept: BooleanArray = fates.iter().map(|fate| Some(fate.is_none())).collect();
        let mut batches = Vec::new();
        for (table, arrays) in tables {
            // NULLs in columns that need values are only in rows that are filtered out.
            let lenient: Vec<_> = table.columns[1..table.columns.len() - 1]
                .iter()
                .zip(&arrays)
                .map(|(c, a)| arrow::datatypes::Field::new(c.name, a.data_type().clone(), true))
                .collect();
            let all = RecordBatch::try_new(Arc::new(Schema::new(lenient)), arrays).map_err(|e| ("", e.into()))?;
            let rows = filter_record_batch(&all, &kept).map_err(|e| ("", Error::from(e)))?;
            let batch = super::super::batch(table, rows.columns().to_vec()).map_err(|e| ("", e))?;
            batches.push((table, batch));
        }
        Ok(Mapped { batches, fates })
    }

    fn convert(&self, column: &str, found: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
        let options = CastOptions { safe: true, format_options: FormatOptions::default() };
        if let (Some((key, source)), "person_id") = (&self.persons, column) {
            let text = cast_with_options(found, &DataType::Utf8, &options)?;
            let hashed =
                text.as_string::<i32>().iter().map(|id| Some(key.hex(source, id?.trim()).as_str().to_string()));
            return Ok(Arc::new(hashed.collect::<StringArray>()));
        }
        // A p value's text goes where its logarithm belongs: as a float it would underflow.
        if column == "neg_log_10_p_value" && matches!(found.data_type(), DataType::Utf8 | DataType::Utf8View) {
            let text = cast_with_options(found, &DataType::Utf8, &options)?;
            let values = text.as_string::<i32>().iter().map(|p| pvalue::neg_log10(p?.trim()).ok());
            return Ok(Arc::new(values.collect::<arrow::array::Float64Array>()));
        }
        Ok(cast_with_options(found, target, &options)?)
    }
}

fn not_a_condition() -> Error {
    Error::Invalid("mapping, where: expected a condition that is true or false".into())
}

fn unfit(column: &'static str, target: &DataType) -> Fault {
    let (reason, message) = match target {
        DataType::Date32 => (RejectReason::InvalidDate, "expected a date, YYYY-MM-DD; see to_date for other forms"),
        DataType::Timestamp(..) => (RejectReason::InvalidDate, "expected a time; see to_timestamp for other forms"),
        DataType::Float64 if column == "neg_log_10_p_value" => {
            (RejectReason::PValueOutOfRange, "expected a p value in (0, 1]")
        }
        _ => (RejectReason::InvalidNumber, "expected a number"),
    };
    Fault { column, reason, message }
}
