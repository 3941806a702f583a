//! What can go wrong with the objects that a session holds.

use std::fmt;

/// Why an instance is gone that an object lived in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// A guest trapped, or used up what it may.
    Failed,
    /// A call did not end in time.
    Late,
    /// A call was cancelled, or its session ended.
    Cancelled,
    /// The registration, or its tenant, was removed.
    Removed,
    /// Node or tenant do not allow any more what it was made with.
    Narrowed,
    /// The session ended that it was made for.
    SessionEnded,
}

impl fmt::Display for Gone {
    /// Goes on after "its instance is gone: ".
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Gone::Failed => "an earlier call of it failed",
            Gone::Late => "an earlier call of it did not end in time",
            Gone::Cancelled => "an earlier call of it was cancelled",
            Gone::Removed => "its registration was removed",
            Gone::Narrowed => "it may not have any more what it was made with",
            Gone::SessionEnded => "the session ended that it was made for",
        })
    }
}

/// Why an object cannot be called, passed or kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Never held, made up, another session's, or released: nobody can tell which.
    #[error("no object {number} in this session")]
    NotHeld {
        /// The number.
        number: u64,
    },
    /// Its instance is gone.
    #[error("object {number} is gone with its instance: {why}; make it anew")]
    Gone {
        /// The number.
        number: u64,
        /// Why it is gone.
        why: Gone,
    },
    /// The instance was gone before a call had its turn, or ended.
    #[error("the instance is gone: {why}; make its objects anew")]
    InstanceGone {
        /// Why it is gone.
        why: Gone,
    },
    /// Objects of different roots in one call.
    #[error(
        "object {number} does not live where this call is done; objects that one call takes have to \
         come from one instance: register the module with instancing `session`"
    )]
    Elsewhere {
        /// The number.
        number: u64,
    },
    /// A call with objects that does not say where it is to be done.
    #[error("the call takes object {number}, so it has to say `on` which object it is done")]
    NoPlace {
        /// The number.
        number: u64,
    },
    /// A call under way has it.
    #[error("object {number} is lent to a call that is under way, so it cannot change hands now")]
    Lent {
        /// The number.
        number: u64,
    },
    /// An object that changes hands stands in two places.
    #[error("object {number} is given away, so the call can name it only once")]
    Twice {
        /// The number.
        number: u64,
    },
    /// It is an object of another resource.
    #[error("object {number} is no `{wanted}`")]
    OfAnotherResource {
        /// The number.
        number: u64,
        /// The resource that is wanted.
        wanted: String,
    },
    /// Something would hold an object that ends before it.
    #[error(
        "`{to}` was given an object that lives in an instance of this call only, which it outlives; lend it, or \
         register the module that makes it with the same instancing"
    )]
    ShortLived {
        /// Who would hold it.
        to: String,
    },
    /// A module was called on an object that lives in an instance that all sessions share.
    #[error(
        "`{name}` has no part in the instance that this object lives in, and cannot join one that all sessions \
         share"
    )]
    NoPart {
        /// The module.
        name: String,
    },
    /// An object of the client's where only one of the module's own will do.
    #[error("object {number} of the client's is no `{wanted}`: the module makes these itself")]
    NotTheClients {
        /// The client's number.
        number: u64,
        /// The resource that is wanted.
        wanted: String,
    },
    /// More was released than was received.
    #[error("object {number} was sent {told} times, and more than that would be released")]
    ReleasedTooOften {
        /// The number.
        number: u64,
        /// How often it was sent and not released yet.
        told: u64,
    },
    /// The session holds as many as it may.
    #[error(
        "the session holds {limit} objects, as many as `max-handles-per-session` allows; release some"
    )]
    TooMany {
        /// How many it may hold.
        limit: u64,
    },
    /// Too many instances are kept for the session.
    #[error(
        "the session's objects keep as many instances alive as `max-pinned-instances-per-session` \
         allows, {limit}; release some"
    )]
    TooManyPinned {
        /// How many there may be.
        limit: u64,
    },
    /// Too many instances are kept for the tenant.
    #[error(
        "the tenant's sessions keep as many instances alive as `max-pinned-instances-per-tenant` \
         allows, {limit}, or a quarter of all that the node has; release some objects"
    )]
    TooManyPinnedOfTenant {
        /// How many there may be.
        limit: u64,
    },
    /// Too many instances are kept for all tenants.
    #[error("the node keeps as many instances alive for objects as it can; try again")]
    NoRoomToPin,
    /// What the instance was made with is more than what this call allows.
    #[error(
        "the instance was made with the grant `{grant}`, which the {by} does not allow (any more)"
    )]
    Narrowed {
        /// The grant, without what it holds.
        grant: String,
        /// Who does not allow it.
        by: &'static str,
        /// Whether it is the caller.
        is_callers: bool,
    },
    /// The session has ended meanwhile.
    #[error("the session has ended")]
    SessionOver,
}
