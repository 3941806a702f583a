//! What the guests of a registration said, and say.

use rpc_host_protocol::operation::Logs;

use super::Node;
use crate::error::HostError;
use crate::journal::{Journal, Read};
use crate::session::Outlet;
use crate::tenant::Principal;

/// Sends the lines that are kept, and with `follow` those that come, until the registration is no more, or nobody
/// waits for them.
pub(super) async fn logs(
    node: &Node,
    principal: &Principal,
    request: Logs,
    outlet: &Outlet,
) -> Result<(), HostError> {
    let permit = principal.permit_read()?;
    let found = node.registry.catalog.show(&permit, &request.name)?;
    let tenant = permit.tenant().number();
    let mut journal = node.journals().open(tenant, found.name.as_str());
    if let Some(tail) = request.tail {
        journal.skip_to_last(tail.into());
    }
    // What comes while it is told is not of the present; without this it might never be told in full.
    let mut left = journal.left();
    while request.follow || left > 0 {
        let Some(read) = next(&mut journal, request.follow).await else {
            return Ok(());
        };
        let Read { lost, lines } = read;
        left = left.saturating_sub(lost.saturating_add(lines.len() as u64));
        let mut is_heard = lost == 0 || outlet.send_lost(lost).await;
        for line in &lines {
            is_heard = is_heard && outlet.send(line).await;
        }
        if !is_heard {
            // Nobody is there any more, and the session says why.
            return Ok(());
        }
    }
    Ok(())
}

async fn next(journal: &mut Journal, follow: bool) -> Option<Read> {
    match follow {
        true => journal.next().await,
        false => journal.read(),
    }
}
