//! DescribeCluster (API 60): this one node.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::context::text;
use crate::kafka::topics::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED};
use crate::kafka::wire::Context;

/// Kafka's numbers for kinds of endpoints.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Describes the cluster.
pub async fn handle(context: &Context, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let answer = DescribeClusterResponse::default().with_endpoint_type(request.endpoint_type);
    if let Err((error, message)) = check(request.endpoint_type) {
        return answer
            .with_error_code(error.code())
            .with_error_message(Some(text(message)));
    }
    let broker = context.broker();
    let endpoint = broker.endpoint_for(&context.peer);
    let node = DescribeClusterBroker::default()
        .with_broker_id(broker.node_id.into())
        .with_host(text(&endpoint.host))
        .with_port(i32::from(endpoint.port))
        .with_rack(broker.config().rack().as_deref().map(text));
    let operations = match request.include_cluster_authorized_operations {
        true => CLUSTER_OPERATIONS,
        false => OPERATIONS_NOT_ASKED,
    };
    answer
        .with_error_message(None)
        .with_cluster_id(text(broker.catalog.cluster_id()))
        .with_controller_id(broker.node_id.into())
        .with_brokers(vec![node])
        .with_cluster_authorized_operations(operations)
}

fn check(endpoint_type: i8) -> Result<(), (ResponseError, &'static str)> {
    match endpoint_type {
        BROKERS => Ok(()),
        CONTROLLERS => Err((
            ResponseError::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of \
             type CONTROLLER",
        )),
        _ => Err((
            ResponseError::UnsupportedEndpointType,
            "Unsupported endpoint type",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_is_an_endpoint_of_brokers() {
        assert!(check(1).is_ok());
        assert_eq!(
            check(2).unwrap_err().0,
            ResponseError::MismatchedEndpointType
        );
        assert_eq!(
            check(0).unwrap_err().0,
            ResponseError::UnsupportedEndpointType
        );
    }
}
