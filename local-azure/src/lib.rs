//! A loopback stand-in for the outside world: who issues callers' tokens, who issues the gateway's
//! own, and what lies behind it.
//!
//! [`Issuer`] is an OIDC provider with rotating keys. [`Imds`] is the managed-identity endpoint of a
//! virtual machine, [`AppService`] that of an application, [`OAuth`] a token endpoint for a client
//! with a secret or with federated credentials. [`OpenAi`] has a few deployments that accept nothing but what these three issued.
//! Each records every request and misbehaves on demand ([`Fault`]). [`LocalAzure`] starts all of
//! them, and a control server for people with curl. Everything binds 127.0.0.1 unless told otherwise
//! ([`Options::listen`]), and runs until it is stopped or its tokio runtime ends.
//!
//! ```
//! # use local_azure::{LocalAzure, Options};
//! # use serde_json::json;
//! # #[tokio::main] async fn main() -> std::io::Result<()> {
//! let azure = LocalAzure::start(Options::default()).await?;
//! let expired = azure.issuer.mint(&azure.issuer.claims_with(&json!({ "exp": 1 })));
//! // … send `expired` through the gateway; then:
//! assert!(azure.openai.requests().is_empty(), "nothing reached the backend");
//! # assert_eq!(expired.split('.').count(), 3);
//! # Ok(()) }
//! ```

mod app_service;
mod clock;
mod control;
mod imds;
mod issuer;
mod mint;
mod oauth;
mod openai;
mod service;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use app_service::AppService;
pub use imds::Imds;
pub use issuer::Issuer;
pub use oauth::{FederatedCredential, OAuth};
pub use openai::OpenAi;
pub use service::{Fault, Recorded};

use service::Service;

/// Holds one of each service, and the control server that speaks for them all.
#[derive(Clone, Debug)]
pub struct LocalAzure {
    /// Issues callers' tokens.
    pub issuer: Issuer,
    /// Issues the gateway's tokens to a virtual machine.
    pub imds: Imds,
    /// Issues the gateway's tokens to an application of App Service.
    pub app_service: AppService,
    /// Issues the gateway's tokens for a secret, or for the token of an issuer that it trusts.
    pub oauth: OAuth,
    /// Serves whom one of these three gave a token.
    pub openai: OpenAi,
    control: Service,
}

impl LocalAzure {
    /// Starts every service, inside the tokio runtime that it is called from.
    ///
    /// # Errors
    /// Fails when one of the ports cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let issuer = Issuer::start(&options).await?;
        let imds = Imds::start(&options).await?;
        let app_service = AppService::start(&options, &imds).await?;
        let oauth = OAuth::start(&options, &imds).await?;
        let openai = OpenAi::start(&options, imds.clone()).await?;
        let control = control::Control {
            issuer: issuer.clone(),
            imds: imds.clone(),
            app_service: app_service.clone(),
            oauth: oauth.clone(),
            openai: openai.clone(),
        };
        let control =
            Service::start(control::router(control), options.at(options.ports.control)).await?;
        Ok(Self { issuer, imds, app_service, oauth, openai, control })
    }

    /// Returns the control server's base URL, such as `http://127.0.0.1:PORT`.
    ///
    /// `GET /` there lists what it can do.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control.address())
    }
}

/// Says whom the services play.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `iss` of the tokens that [`Issuer`] mints. One that ends in `/v2.0` makes it look like
    /// Microsoft Entra ID's second endpoint version. An empty one stands for the URL that it
    /// listens on, `http://127.0.0.1:PORT/`, so that its discovery document leads back to it.
    pub issuer: String,
    /// The `aud` of the tokens that [`Issuer`] mints unless told otherwise.
    pub audience: String,
    /// The one resource whose tokens [`OpenAi`] accepts.
    pub resource: String,
    /// What a request to [`AppService`] must carry as `X-IDENTITY-HEADER`.
    pub identity_header: String,
    /// The `client_id` of the application that [`OAuth`] and [`Issuer`] know.
    pub client_id: String,
    /// That application's secret.
    pub client_secret: String,
    /// The address that the services listen on: 127.0.0.1, except in a container, whose neighbours
    /// must reach it.
    pub listen: IpAddr,
    /// Where the services listen there.
    pub ports: Ports,
}

impl Options {
    /// Returns where the service of that port listens.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        (self.listen, port).into()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            issuer: "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0"
                .into(),
            audience: "api://openai-gateway".into(),
            resource: "https://cognitiveservices.azure.com".into(),
            identity_header: "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a".into(),
            client_id: "6731de76-14a6-49ae-97bc-6eba6914391e".into(),
            // Characters as in those of Entra, and some that a form must escape.
            client_secret: "xUn8Q~.k0Vd+R7 s&4=%tZ-w_1".into(),
            listen: Ipv4Addr::LOCALHOST.into(),
            ports: Ports::default(),
        }
    }
}

/// Names a port for each service; 0, the default, is any free one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// The port of [`Issuer`].
    pub issuer: u16,
    /// The port of [`Imds`].
    pub imds: u16,
    /// The port of [`AppService`].
    pub app_service: u16,
    /// The port of [`OAuth`].
    pub oauth: u16,
    /// The port of [`OpenAi`].
    pub openai: u16,
    /// The port of the control server.
    pub control: u16,
}
