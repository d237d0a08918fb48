//! Addresses, credentials and connections.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};
use tonic::{Request, Status};
use tower::service_fn;

use crate::Error;
use crate::v1::run_service_client::RunServiceClient;

/// What a client shows a server, and how long it waits. The default is right for a unix socket.
#[derive(Clone)]
pub struct Options {
    /// Shown to a server that listens on TCP.
    pub token: Option<String>,
    /// File with the authority that has signed the server's certificate. Turns TLS on.
    pub authority: Option<PathBuf>,
    /// Files with a certificate of the client's own and its key, for a server that asks for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Bounds each call but those that follow a run; none for no bound.
    pub call_timeout: Option<Duration>,
    /// How long those look for a server that has gone.
    pub reconnect: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: None,
            authority: None,
            certificate: None,
            call_timeout: Some(Duration::from_secs(30)),
            reconnect: Duration::from_secs(60),
        }
    }
}

/// Shows the token with each call.
#[derive(Clone)]
pub struct ShowToken(Option<MetadataValue<Ascii>>);

impl Interceptor for ShowToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// The generated client of the whole contract.
pub type Service = RunServiceClient<InterceptedService<Channel, ShowToken>>;

/// Makes connections to one server.
pub(crate) struct Connector {
    endpoint: Endpoint,
    socket: Option<PathBuf>,
    token: ShowToken,
}

impl Connector {
    /// Reads `unix:PATH` or `tcp://HOST:PORT`.
    pub(crate) fn new(address: &str, options: &Options) -> Result<Self, Error> {
        let token = ShowToken(options.token.as_deref().map(shown).transpose()?);
        if options.certificate.is_some() && options.authority.is_none() {
            return Err(Error::Address("a certificate needs TLS; set `authority` as well".into()));
        }
        if let Some(path) = address.strip_prefix("unix:") {
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            if path.is_empty() {
                return Err(Error::Address(format!("{address:?} names no file")));
            }
            // Not in the URI, where `#` and `%41` mean other things than in a path.
            return Ok(Self {
                endpoint: tuned(Endpoint::from_static("http://localhost")),
                socket: Some(path.into()),
                token,
            });
        }
        let place = address.strip_prefix("tcp://").unwrap_or(address).trim_end_matches('/');
        let scheme = if options.authority.is_some() { "https" } else { "http" };
        let uri: Uri = format!("{scheme}://{place}").parse().map_err(|_| no_address(address))?;
        let (Some(host), Some(_)) = (uri.host(), uri.port_u16()) else { return Err(no_address(address)) };
        if place.contains(['@', '/', '?', '#']) || place.matches(':').count() > 1 && !place.starts_with('[') {
            return Err(no_address(address));
        }
        if options.authority.is_none() && !is_loopback(host) {
            let why =
                format!("without TLS everybody on the way to {host} reads and changes what is sent; set `authority`");
            return Err(Error::Address(why));
        }
        let mut endpoint = tuned(Endpoint::from(uri.clone()));
        if let Some(tls) = tls(options)? {
            endpoint = endpoint.tls_config(tls).map_err(|error| Error::Address(error.to_string()))?;
        }
        Ok(Self { endpoint, socket: None, token })
    }

    /// Returns a connection, which is made with the first call, and made again when it is lost.
    pub(crate) fn channel(&self) -> InterceptedService<Channel, ShowToken> {
        let channel = match self.socket.clone() {
            None => self.endpoint.connect_lazy(),
            Some(path) => self.endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            })),
        };
        InterceptedService::new(channel, self.token.clone())
    }
}

/// Returns how a token is shown.
fn shown(token: &str) -> Result<MetadataValue<Ascii>, Error> {
    let why = "a token is visible ASCII characters only; strip the end of the line from one that was read from a file";
    let none = || Error::Address(why.into());
    if !token.chars().all(|letter| letter.is_ascii_graphic()) {
        return Err(none());
    }
    format!("Bearer {token}").parse().map_err(|_| none())
}

/// Has a path that has gone dead be noticed. Servers allow a ping each 10 s.
fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(Duration::from_secs(10))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
}

fn tls(options: &Options) -> Result<Option<ClientTlsConfig>, Error> {
    let Some(authority) = &options.authority else { return Ok(None) };
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(authority)?));
    if let Some((certificate, key)) = &options.certificate {
        config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(Some(config))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Address(format!("{}: {error}", path.display())))
}

fn no_address(text: &str) -> Error {
    Error::Address(format!("{text:?} is neither unix:PATH nor tcp://HOST:PORT"))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_read_or_refused() {
        for address in ["unix:C#/a%41?", "unix:///run/flujo", "tcp://127.0.0.1:7777", "[::1]:7777", "localhost:7777"] {
            Connector::new(address, &Options::default()).unwrap_or_else(|error| panic!("{address}: {error}")).channel();
        }
        let token = Options { token: Some("t".into()), ..Options::default() };
        for (address, says) in [
            ("", "neither unix:PATH nor tcp://HOST:PORT"),
            ("unix:", "names no file"),
            ("tcp://localhost", "neither"),
            ("tcp://localhost:65536", "neither"),
            ("tcp://localhost:7777/path", "neither"),
            ("tcp://eve@localhost:7777", "neither"),
            ("dns:///localhost:7777", "neither"),
            ("ipv6:[::1]:7777", "neither"),
            ("tcp://example.org:7777", "without TLS everybody"),
        ] {
            let error = Connector::new(address, &token).err().expect(address).to_string();
            assert!(error.contains(says), "{address}: {error}");
        }
        for token in ["secret\n", "sécret", "a secret"] {
            let error = Connector::new("unix:s", &Options { token: Some(token.into()), ..Options::default() });
            let error = error.err().expect(token).to_string();
            assert!(error.contains("visible ASCII") && !error.contains("cret"), "{error}");
        }
        let certificate = Some(("c".into(), "k".into()));
        let bare = Options { certificate, ..Options::default() };
        assert!(Connector::new("tcp://localhost:1", &bare).err().unwrap().to_string().contains("needs TLS"));
    }
}
