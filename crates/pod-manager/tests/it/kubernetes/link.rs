//! A Kubernetes client whose calls are recorded, whose connections can be cut, and into which faults are
//! injected.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use kube::{Client, client::ClientBuilder};
use parking_lot::Mutex;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::faults::{FaultService, Faults};

/// A TCP proxy in front of the API server, and a client that uses it.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) faults: Arc<Faults>,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<JoinHandle<()>>>>,
    listener: JoinHandle<()>,
}

impl Link {
    pub(crate) async fn new() -> Self {
        Self::to(
            &pod_manager::kubernetes::testing::kubeconfig().expect("asked only where there is a cluster"),
        )
        .await
    }

    pub(crate) async fn to(kubeconfig: &Path) -> Self {
        let mut config = super::cluster::config(kubeconfig).await;
        let host = config.cluster_url.host().expect("a host").to_owned();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        config.tls_server_name.get_or_insert_with(|| host.clone());
        config.cluster_url = format!("https://{address}").parse().expect("an address");

        let (is_cut, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (cut, connections) = (is_cut.clone(), open.clone());
        let listener = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let host = host.clone();
                // One lock for the check and the push: `cut` would miss a connection between the two.
                let mut open = connections.lock();
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                open.push(tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect((host.as_str(), port)).await {
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                }));
            }
        });
        let faults = Arc::new(Faults::default());
        let fault_layer = tower::layer::layer_fn({
            let faults = faults.clone();
            move |inner| FaultService::new(inner, faults.clone())
        });
        let client = ClientBuilder::try_from(config).expect("a client").with_layer(&fault_layer).build();
        Self { client, faults, is_cut, open, listener }
    }

    /// Cuts every connection, and accepts no new one.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.cut_once();
    }

    /// Cuts every connection.
    pub(crate) fn cut_once(&self) {
        for connection in self.open.lock().drain(..) {
            connection.abort();
        }
    }

    pub(crate) fn restore(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }

    /// Returns the calls since the last time, as `POST /api/v1/…/pods`, without queries and without those of
    /// the Lease.
    pub(crate) fn take_calls(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.faults.calls.lock());
        asked.retain(|call| !call.contains("/leases"));
        asked
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}
