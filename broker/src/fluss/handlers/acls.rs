//! Access control lists (APIs 1039 to 1041): there is no authorizer, and clients are told so.

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{
    CreateAclsRequest, CreateAclsResponse, DropAclsRequest, DropAclsResponse, ListAclsRequest,
    ListAclsResponse,
};

use crate::fluss::error::Failure;
use crate::fluss::wire::Context;

fn disabled<T>() -> Result<T, Failure> {
    Err(Failure::new(
        ErrorCode::SecurityDisabled,
        "no authorizer is configured",
    ))
}

/// CREATE_ACLS.
pub fn create(_: &Context, _: CreateAclsRequest) -> Result<CreateAclsResponse, Failure> {
    disabled()
}

/// LIST_ACLS.
pub fn list(_: &Context, _: ListAclsRequest) -> Result<ListAclsResponse, Failure> {
    disabled()
}

/// DROP_ACLS.
pub fn drop(_: &Context, _: DropAclsRequest) -> Result<DropAclsResponse, Failure> {
    disabled()
}
