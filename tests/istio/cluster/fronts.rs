//! The addresses outside: each ends TLS in a host's name and leads to a stand-in.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use local_azure::{LocalAzure, OpenAi};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::Authority;

/// Holds what stands before each stand-in.
#[derive(Debug)]
pub(crate) struct Fronts {
    /// `login.microsoftonline.com`.
    pub(crate) entra: Front,
    /// `my-openai.openai.azure.com`.
    pub(crate) provisioned: Front,
    others: Vec<Front>,
}

/// Holds one address; its certificate and where it leads can be exchanged.
#[derive(Debug)]
pub(crate) struct Front {
    own: Face,
    wrong: Face,
    now: watch::Sender<Face>,
}

/// What a front shows, and the stand-in behind it.
#[derive(Clone)]
struct Face {
    tls: Option<TlsAcceptor>,
    to: SocketAddr,
}

impl fmt::Debug for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to)
    }
}

impl Fronts {
    pub(crate) async fn start(
        authority: &Authority,
        azure: &LocalAzure,
        [sweden, france, models]: [&OpenAi; 3],
    ) -> Self {
        let tls = async |name: &str, to: SocketAddr| Front::start(authority, name, to).await;
        Self {
            entra: tls("login.microsoftonline.com", azure.issuer.address()).await,
            provisioned: tls("my-openai.openai.azure.com", azure.openai.address()).await,
            others: vec![
                tls("my-openai-sweden.openai.azure.com", sweden.address()).await,
                tls("my-openai-france.openai.azure.com", france.address()).await,
                tls("models.example.com", models.address()).await,
                tls("sts.example.com", azure.oauth.address()).await,
                tls("other.example.com", models.address()).await,
                Front::plain("169.254.169.254", azure.imds.address()).await,
            ],
        }
    }

    /// Gives each its own certificate again.
    pub(crate) fn restore(&self) {
        for front in self.others.iter().chain([&self.entra, &self.provisioned]) {
            front.now.send_replace(front.own.clone());
        }
    }
}

impl Front {
    async fn start(authority: &Authority, host: &str, to: SocketAddr) -> Self {
        let address = tokio::net::lookup_host((host, 443)).await.unwrap().next().unwrap();
        let (own, wrong) = (authority.acceptor(host), authority.acceptor("wrong.example.com"));
        Self::listen(address, Face { tls: Some(own), to }, Face { tls: Some(wrong), to }).await
    }

    async fn plain(address: &str, to: SocketAddr) -> Self {
        let address: IpAddr = address.parse().unwrap();
        let face = Face { tls: None, to };
        Self::listen((address, 80).into(), face.clone(), face).await
    }

    async fn listen(address: SocketAddr, own: Face, wrong: Face) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (now, shown) = watch::channel(own.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(shown.clone(), stream));
            }
        });
        Self { own, wrong, now }
    }

    /// Shows the certificate of another host from now on.
    pub(crate) fn show_a_wrong_certificate(&self) {
        self.now.send_replace(self.wrong.clone());
    }

    /// Leads to another stand-in from now on.
    pub(crate) fn lead_to(&self, to: SocketAddr) {
        self.now.send_replace(Face { to, ..self.own.clone() });
    }
}

/// Serves a connection until one side ends it, or the front changes.
async fn serve(mut shown: watch::Receiver<Face>, stream: TcpStream) {
    shown.mark_unchanged();
    let face = shown.borrow().clone();
    tokio::select! {
        () = copy(face, stream) => (),
        _ = shown.changed() => (),
    }
}

/// Who breaks off the handshake gets nothing; where nobody listens, the connection ends.
async fn copy(Face { tls, to }: Face, mut stream: TcpStream) {
    let Ok(mut backend) = TcpStream::connect(to).await else { return };
    let Some(tls) = tls else {
        let _ = copy_bidirectional(&mut stream, &mut backend).await;
        return;
    };
    if let Ok(mut stream) = tls.accept(stream).await {
        let _ = copy_bidirectional(&mut stream, &mut backend).await;
    }
}
