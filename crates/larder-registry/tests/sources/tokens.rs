//! Token sources: whom their tokens go to, when they are renewed, and Google's metadata server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::fake::{Registry, Reply, Request, Sample, amd64, chain, options};
use larder_registry::{
    Client, GoogleTokens, ImageSpec, ResolveError, Token, TokenAnswer, TokenError, TokenSource,
};

/// Tokens `t0`, `t1`, ... for one registry, each good for a moment.
#[derive(Debug)]
struct Counting {
    registry: String,
    life: Duration,
    given: AtomicUsize,
}

impl TokenSource for Counting {
    fn token<'a>(&'a self, registry: &'a str, repository: &'a str) -> TokenAnswer<'a> {
        Box::pin(async move {
            assert_eq!(repository, "team/x");
            let count = || self.given.fetch_add(1, Ordering::SeqCst);
            let token = || Token::new("robot", format!("t{}", count()), Some(Instant::now() + self.life));
            Ok((registry == self.registry).then(token))
        })
    }
}

fn client(config: &str, source: Arc<dyn TokenSource>) -> Client {
    let (mut options, _dir) = options(config);
    options.token_sources = vec![source];
    Client::new(options).unwrap()
}

async fn resolve(client: &Client, host: &str) -> Result<(), ResolveError> {
    let spec: ImageSpec = format!("{host}/team/x:1").parse().unwrap();
    client.resolve(&spec, &amd64()).await.map(drop)
}

/// A registry that wants some password.
async fn guarded() -> Registry {
    let sample = Sample::new(b"layer".to_vec());
    Registry::start(move |request, _| match request.header("authorization") {
        Some(_) => sample.reply(request),
        None => Reply::new(401, "{}").header("www-authenticate", "Basic realm=x"),
    })
    .await
}

fn sent(registry: &Registry) -> Vec<String> {
    let sent = |request: Request| request.header("authorization").map(str::to_owned);
    let mut sent: Vec<_> = registry.requests().into_iter().filter_map(sent).collect();
    sent.dedup();
    sent
}

#[tokio::test]
async fn a_token_is_renewed_when_its_time_is_over_and_goes_to_its_registry_alone() {
    let (registry, other) = (guarded().await, guarded().await);
    let life = Duration::from_millis(200);
    let source = Arc::new(Counting { registry: registry.host.clone(), life, given: AtomicUsize::new(0) });
    // dTpw is u:p: the source comes before the file, where it has something to say.
    let config = format!(
        r#"{{"auths": {{"{}": {{"auth": "dTpw"}}, "{}": {{"auth": "dTpw"}}}}}}"#,
        registry.host, other.host
    );
    let client = client(&config, source);
    resolve(&client, &registry.host).await.unwrap();
    resolve(&client, &registry.host).await.unwrap();
    tokio::time::sleep(life).await;
    resolve(&client, &registry.host).await.unwrap();
    resolve(&client, &other.host).await.unwrap();
    // robot:t0 and robot:t1.
    assert_eq!(sent(&registry), ["Basic cm9ib3Q6dDA=", "Basic cm9ib3Q6dDE="]);
    assert_eq!(sent(&other), ["Basic dTpw"]);
}

/// Fails as often as it says, then gives a token.
#[derive(Debug)]
struct Failing(Mutex<Vec<TokenError>>);

impl TokenSource for Failing {
    fn token<'a>(&'a self, _: &'a str, _: &'a str) -> TokenAnswer<'a> {
        let error = self.0.lock().unwrap().pop();
        Box::pin(async { error.map_or_else(|| Ok(Some(Token::new("u", "p".to_owned(), None))), Err) })
    }
}

#[tokio::test]
async fn a_source_is_asked_again_where_its_failure_may_pass() {
    let registry = guarded().await;
    let passing = || TokenError::Passing("busy".into());
    let source = Arc::new(Failing(Mutex::new(vec![passing(), passing()])));
    resolve(&client("{}", source), &registry.host).await.unwrap();
    let source = Arc::new(Failing(Mutex::new(vec![passing(), TokenError::Lasting("no account".into())])));
    let error = resolve(&client("{}", source.clone()), &registry.host).await.unwrap_err();
    assert_eq!(chain(&error), "no account");
    assert_eq!(source.0.lock().unwrap().len(), 1);
}

/// A metadata server that answers the one question it should be asked.
async fn metadata(answer: impl Fn(usize) -> Reply + Send + Sync + 'static) -> (Registry, GoogleTokens) {
    let server = Registry::start(move |request, before| {
        let token = "/computeMetadata/v1/instance/service-accounts/default/token";
        match request.header("metadata-flavor") {
            Some("Google") if request.path == token => answer(before),
            _ => Reply::new(403, ""),
        }
    })
    .await;
    let tokens = GoogleTokens::new(server.host.clone()).unwrap();
    (server, tokens)
}

fn google_answer(token: &str, seconds: u64) -> Reply {
    let body = format!(r#"{{"access_token":"{token}","expires_in":{seconds},"token_type":"Bearer"}}"#);
    Reply::new(200, body).header("metadata-flavor", "Google")
}

#[tokio::test]
async fn googles_token_is_asked_for_once_while_it_is_good_and_only_for_googles_registries() {
    let (server, tokens) = metadata(|_| google_answer("ya29", 3600)).await;
    for registry in ["docker.io", "evil-gcr.io", "gcr.io.evil.example", "127.0.0.1:5000"] {
        assert!(tokens.token(registry, "x").await.unwrap().is_none(), "{registry}");
    }
    assert!(server.requests().is_empty());
    let (one, two) = tokio::join!(tokens.token("gcr.io", "x"), tokens.token("eu-docker.pkg.dev", "y"));
    let debug = format!("{one:?} {two:?}");
    assert!(debug.contains("oauth2accesstoken") && !debug.contains("ya29"), "{debug}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn googles_token_is_renewed_before_it_expires() {
    let (server, tokens) = metadata(|before| google_answer(&format!("t{before}"), 1)).await;
    tokens.token("gcr.io", "x").await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    tokens.token("gcr.io", "x").await.unwrap().unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_metadata_server_that_gives_no_token_is_named() {
    let table: [(Reply, bool, &str); 5] = [
        (
            Reply::new(404, "").header("metadata-flavor", "Google"),
            false,
            "404 Not Found (does this machine have a service account?)",
        ),
        (Reply::new(503, ""), true, "503 Service Unavailable"),
        (Reply::new(302, "").header("location", "http://127.0.0.1:1/"), false, "302 Found"),
        (Reply::new(200, r#"{"access_token":"x","expires_in":9}"#), false, "does not answer as Google's"),
        (Reply::new(200, "{}").header("metadata-flavor", "Google"), false, "does not answer as Google's"),
    ];
    for (reply, passing, message) in table {
        let (server, tokens) = metadata(move |_| reply.clone()).await;
        let error = tokens.token("gcr.io", "x").await.unwrap_err();
        let text = chain(&error);
        assert!(text.contains(message) && text.contains(&server.host), "{text}");
        assert_eq!(matches!(error, TokenError::Passing(_)), passing, "{text}");
    }
    let error = GoogleTokens::new("127.0.0.1:1".to_owned()).unwrap().token("gcr.io", "x").await.unwrap_err();
    assert!(chain(&error).contains("(is this a machine of Google Cloud?)"), "{}", chain(&error));
}
