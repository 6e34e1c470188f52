//! Each endpoint is found, asked and believed by its own name.

use std::net::SocketAddr;
use std::sync::Arc;

use gateway::Blueprint;
use local_azure::{LocalAzure, Options};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::{Backends, NAMES, PAY_AS_YOU_GO, PROVISIONED, Tiers, full};
use testkit::reply::Refusal;
use testkit::world::{World, shipped_with_issuer, values};

/// Ends TLS in front of a backend.
struct Front {
    address: SocketAddr,
    /// The names that clients asked for (SNI, RFC 6066 §3), one for each finished handshake.
    asked: UnboundedReceiver<String>,
}

impl Front {
    async fn start(acceptor: TlsAcceptor, backend: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (names, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream, backend, names.clone()));
            }
        });
        Self { address, asked }
    }

    /// Returns the names since the last time.
    fn asked(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    backend: SocketAddr,
    asked: UnboundedSender<String>,
) {
    // Who breaks off the handshake gets nothing.
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
    asked.send(name).unwrap();
    let mut backend = TcpStream::connect(backend).await.unwrap();
    let _ = copy_bidirectional(&mut stream, &mut backend).await;
}

/// Certifies the names that it is asked to.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Starts a world whose endpoints have these names in their certificates.
async fn with_certificates(certified: [&str; 3]) -> (Tiers, [Front; 3]) {
    let authority = Authority::new();
    let backends = Backends::start().await;
    let front = async |index: usize| {
        let backend = backends.azure[index].address();
        Front::start(authority.acceptor(certified[index]), backend).await
    };
    let fronts = [front(0).await, front(1).await, front(2).await];
    let addresses = fronts.each_ref().map(|front| front.address);
    let trusting = |blueprint: Blueprint| {
        let authority = authority.0.pem();
        blueprint.tls(PROVISIONED, &authority).tls(PAY_AS_YOU_GO, &authority)
    };
    (Tiers::on(backends, addresses, trusting).await, fronts)
}

#[tokio::test]
async fn each_endpoint_is_asked_for_its_own_name() {
    let (tiers, mut fronts) = with_certificates(NAMES).await;
    assert_eq!(tiers.spread(1).await, [1, 0, 0]);
    tiers.azure[0].fault(full(9));
    tiers.azure[1].fault(full(9));
    for _ in 0..4 {
        assert_eq!(tiers.chat().await.status, 200);
    }
    assert!(tiers.counts()[1] > 0, "each was asked: {:?}", tiers.counts());
    for ((front, backend), name) in fronts.iter_mut().zip(&tiers.azure).zip(NAMES) {
        let asked = front.asked();
        assert!(!asked.is_empty() && asked.iter().all(|one| one == name), "{name}: {asked:?}");
        assert!(backend.requests().iter().all(|seen| values(seen, "host") == [name]), "{name}");
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_prove_its_name_gets_no_token() {
    // The first one has a certificate of the same authority, for a neighbour's name.
    let (tiers, mut fronts) = with_certificates([NAMES[1], NAMES[1], NAMES[2]]).await;
    assert_eq!(tiers.spread(4).await[0], 0);
    assert!(fronts[0].asked().iter().all(|name| name == NAMES[0]));
    let stats = tiers.world.gateway.stats().await.unwrap();
    assert!(stats[&format!("cluster.{PROVISIONED}.ssl.fail_verify_san")] > 0, "for its name alone");
}

#[tokio::test]
async fn an_issuer_that_cannot_prove_its_name_is_unreachable() {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let authority = Authority::new();
    let acceptor = authority.acceptor("neighbour.example.com");
    let front = Front::start(acceptor, azure.issuer.address()).await;
    let blueprint = shipped_with_issuer(&azure, front.address).tls("entra", &authority.0.pem());
    let world = World::on(azure, blueprint).await;
    let request = world.chat_as(&world.token());
    world.refuses(request, Refusal::unavailable("keys_unavailable")).await;
    let log = world.gateway.log();
    let line = log.lines().find(|line| line.contains("fetch kind=jwks name=entra"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("result=unreachable"), "{line}");
    let stats = world.gateway.stats().await.unwrap();
    assert!(stats["cluster.entra.ssl.fail_verify_san"] > 0, "Envoy tells the module no more");
    assert_eq!(world.key_fetches(), 0, "the issuer was not even asked");
}
