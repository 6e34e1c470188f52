//! One address for one gateway after another, as a load balancer has.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Holds a listener whose connections lead to the present gateway.
pub(super) struct Door {
    address: SocketAddr,
    behind: Arc<Mutex<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Door {
    pub(super) async fn open(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let behind = Arc::new(Mutex::new(gateway));
        let leads_to = Arc::clone(&behind);
        let task = tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                let gateway = *leads_to.lock();
                tokio::spawn(async move {
                    if let Ok(mut gateway) = TcpStream::connect(gateway).await {
                        // Either side may end it at any time.
                        let _ = copy_bidirectional(&mut caller, &mut gateway).await;
                    }
                });
            }
        });
        Self { address, behind, task }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn lead_to(&self, gateway: SocketAddr) {
        *self.behind.lock() = gateway;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}
