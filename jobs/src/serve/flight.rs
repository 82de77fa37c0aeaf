//! The service that Flight SQL's clients talk to.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::metadata::SqlInfoDataBuilder;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{Action, FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket};
use futures::{Stream, TryStreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status};

use super::catalog;
use super::statement::{Statement, Statements, failed, internal};

type Answer = Response<<Service as FlightService>::DoGetStream>;

/// Flight SQL over the lake. Handles of statements hold the statement, so the service has no state of its own.
#[derive(Clone)]
pub(super) struct Service {
    statements: Arc<Statements>,
}

impl Service {
    pub(super) fn new(statements: Arc<Statements>) -> Self {
        Self { statements }
    }

    /// Where to get an answer: here, by the command itself.
    fn info(
        command: &impl ProstMessageExt,
        schema: &Schema,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = Ticket::new(command.as_any().encode_to_vec());
        let info = FlightInfo::new()
            .try_with_schema(schema)
            .map_err(internal)?
            .with_descriptor(request.into_inner())
            .with_endpoint(FlightEndpoint::new().with_ticket(ticket));
        Ok(Response::new(info))
    }

    async fn schema(&self, statement: &Statement) -> Result<Schema, Status> {
        Ok(self.statements.plan(statement).await?.schema().as_arrow().clone())
    }

    /// Runs a statement; it is cancelled when the client goes away.
    async fn run(&self, statement: &Statement) -> Result<Answer, Status> {
        let batches = self.statements.plan(statement).await?.execute_stream().await.map_err(failed)?;
        let schema = batches.schema();
        Ok(answer(schema, batches.map_err(|e| FlightError::Tonic(Box::new(failed(e))))))
    }
}

fn answer(schema: SchemaRef, batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static) -> Answer {
    let data = FlightDataEncoderBuilder::new().with_schema(schema).build(batches);
    Response::new(Box::pin(data.map_err(Status::from)))
}

fn one(batch: RecordBatch) -> Answer {
    answer(batch.schema(), stream::iter([Ok(batch)]))
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let statement = Statement { sql: query.query, parameters: None };
        let schema = self.schema(&statement).await?;
        Self::info(&TicketStatementQuery { statement_handle: statement.encode()?.into() }, &schema, request)
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, _: Request<Ticket>) -> Result<Answer, Status> {
        self.run(&Statement::decode(&ticket.statement_handle)?).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let statement = Statement { sql: query.query, parameters: None };
        let schema = self.schema(&statement).await?;
        let options = IpcWriteOptions::default();
        let IpcMessage(dataset_schema) = SchemaAsIpc::new(&schema, &options).try_into().map_err(internal)?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: statement.encode()?.into(),
            dataset_schema,
            // Unknown before values are bound.
            parameter_schema: Default::default(),
        })
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let mut statement = Statement::decode(&query.prepared_statement_handle)?;
        let data = request.into_inner().map_err(|status| FlightError::Tonic(Box::new(status)));
        let mut batches = FlightRecordBatchStream::new_from_flight_data(data);
        while let Some(batch) = batches.try_next().await? {
            if statement.parameters.is_some() || batch.num_rows() != 1 {
                return Err(Status::invalid_argument("a query takes one row of parameters"));
            }
            statement.parameters = Some(batch);
        }
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(statement.encode()?.into()) })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = self.schema(&Statement::decode(&query.prepared_statement_handle)?).await?;
        Self::info(&query, &schema, request)
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        _: Request<Ticket>,
    ) -> Result<Answer, Status> {
        self.run(&Statement::decode(&query.prepared_statement_handle)?).await
    }

    async fn do_action_close_prepared_statement(
        &self,
        _: ActionClosePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn get_flight_info_catalogs(
        &self,
        command: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(&command, &command.into_builder().schema(), request)
    }

    async fn do_get_catalogs(&self, command: CommandGetCatalogs, _: Request<Ticket>) -> Result<Answer, Status> {
        catalog::catalogs(self.statements.session(), command).map(one)
    }

    async fn get_flight_info_schemas(
        &self,
        command: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(&command, &command.clone().into_builder().schema(), request)
    }

    async fn do_get_schemas(&self, command: CommandGetDbSchemas, _: Request<Ticket>) -> Result<Answer, Status> {
        catalog::schemas(self.statements.session(), command).map(one)
    }

    async fn get_flight_info_tables(
        &self,
        command: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(&command, &command.clone().into_builder().schema(), request)
    }

    async fn do_get_tables(&self, command: CommandGetTables, _: Request<Ticket>) -> Result<Answer, Status> {
        self.statements.refresh().await?;
        catalog::tables(self.statements.session(), command).await.map(one)
    }

    async fn get_flight_info_table_types(
        &self,
        command: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(&command, &command.into_builder().schema(), request)
    }

    async fn do_get_table_types(&self, command: CommandGetTableTypes, _: Request<Ticket>) -> Result<Answer, Status> {
        let mut builder = command.into_builder();
        catalog::TABLE_TYPES.into_iter().for_each(|kind| builder.append(catalog::table_type(kind)));
        builder.build().map(one).map_err(internal)
    }

    async fn get_flight_info_sql_info(
        &self,
        command: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(&command, SqlInfoDataBuilder::schema(), request)
    }

    async fn do_get_sql_info(&self, command: CommandGetSqlInfo, _: Request<Ticket>) -> Result<Answer, Status> {
        command.into_builder(&catalog::info()?).build().map(one).map_err(internal)
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
