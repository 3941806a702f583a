//! The way between one client and a node.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use rpc_host_client::{Client, Profile};

use crate::TestTenant;

/// The way between one client and a node, which can be cut: neither end says goodbye then.
pub struct Cable {
    carrying: JoinHandle<()>,
}

impl Cable {
    /// A client with the tenant's token, at the other end of a new cable. Its connection is the only one
    /// that the cable carries.
    pub async fn client_of(tenant: &TestTenant) -> (Self, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = listener.local_addr().expect("an address");
        let far = tenant.host.address();
        let carrying = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.expect("the client");
            // Nobody else comes in.
            drop(listener);
            let mut node = TcpStream::connect(far).await.expect("the node");
            for end in [&client, &node] {
                end.set_nodelay(true).expect("an open socket");
            }
            // It ends when either of them does.
            let _ended = copy_bidirectional(&mut client, &mut node).await;
        });
        let profile = Profile::new(near.to_string())
            .server_name("localhost")
            .ca_pem(tenant.host.ca_pem())
            .token(&tenant.token);
        let client = Client::connect(profile).await.expect("a client");
        (Cable { carrying }, client)
    }

    /// Cuts it.
    pub async fn cut(self) {
        self.carrying.abort();
        // Its sockets are closed when it is gone.
        let _aborted = self.carrying.await;
    }
}
