//! temp
mod backend;
mod id;
pub use backend::{Backend, CallReply, CallRequest, UploadSink, UploadStart};
pub use id::SessionId;
