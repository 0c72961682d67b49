//! Challenges, tokens and credentials: who is asked, how often, and who is sent what.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fake::{Registry, Reply, Request, Sample, amd64, chain, client};
use larder_registry::{Access, Client, ImageSpec, RegistryError, ResolveError, Resolved};

fn sample() -> Sample {
    Sample::new((0..300_000_u32).flat_map(u32::to_le_bytes).collect())
}

async fn resolve(client: &Client, host: &str) -> Result<Resolved, ResolveError> {
    let spec: ImageSpec = format!("{host}/team/x:1").parse().unwrap();
    client.resolve(&spec, &amd64()).await.map(|mut all| all.pop().unwrap())
}

/// A 401 that names the token server on the same host.
fn challenge(request: &Request) -> Reply {
    let realm = format!("http://{}/token?account=1", request.header("host").unwrap());
    let header = format!(r#"Bearer realm="{realm}",service="fake",scope="repository:team/x:pull""#);
    Reply::new(401, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#).header("www-authenticate", &header)
}

fn is_authorized(request: &Request, value: &str) -> bool {
    request.header("authorization") == Some(value)
}

/// dTpw is u:p.
fn config(host: &str) -> String {
    format!(r#"{{"auths": {{"{host}/team": {{"auth": "dTpw"}}}}}}"#)
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_for_everything() {
    let sample = sample();
    let registry = Registry::start(move |request, _| match request.path.split('?').next().unwrap() {
        "/token" => Reply::new(200, r#"{"token":"t","expires_in":300}"#),
        _ if is_authorized(request, "Bearer t") => sample.reply(request),
        _ => challenge(request),
    })
    .await;
    let client = client(&config(&registry.host));
    let resolved = resolve(&client, &registry.host).await.unwrap();
    let mut readers: Vec<_> = (0..4)
        .map(|_| client.open(&resolved.origin, &resolved.image.layers[0].descriptor).unwrap())
        .collect();
    let read = move || readers.iter_mut().all(|reader| reader.read_to_end(&mut Vec::new()).is_ok());
    assert!(tokio::task::spawn_blocking(read).await.unwrap());
    let tokens = registry.requests_for("/token");
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].path, "/token?account=1&service=fake&scope=repository%3Ateam%2Fx%3Apull");
    assert!(is_authorized(&tokens[0], "Basic dTpw"));
    // One request was made before the challenge was known.
    assert_eq!(registry.requests_for("/v2/").len(), 7);
}

#[tokio::test]
async fn many_requests_wait_for_one_token() {
    let sample = sample();
    let registry = Registry::start(move |request, _| match request.path.split('?').next().unwrap() {
        "/token" => Reply::new(200, r#"{"access_token":"t"}"#),
        _ if is_authorized(request, "Bearer t") => sample.reply(request),
        _ => challenge(request),
    })
    .await;
    let client = client("{}");
    let resolutions = (0..8).map(|_| {
        let (client, host) = (client.clone(), registry.host.clone());
        tokio::spawn(async move { resolve(&client, &host).await })
    });
    for resolution in resolutions.collect::<Vec<_>>() {
        resolution.await.unwrap().unwrap();
    }
    let tokens = registry.requests_for("/token");
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].header("authorization"), None);
}

#[tokio::test]
async fn a_token_that_expires_in_the_middle_is_renewed() {
    let sample = sample();
    let layer = sample.layer.descriptor.clone();
    let (digest, bytes) = (layer.digest.to_string(), sample.layer.bytes.clone());
    let tokens = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tokens);
    let registry = Registry::start(move |request, _| {
        if request.path.starts_with("/token") {
            let count = counter.fetch_add(1, Ordering::SeqCst);
            return Reply::new(200, format!(r#"{{"token":"t{count}","expires_in":300}}"#));
        }
        let resumed = request.header("range").is_some();
        let token = if resumed { "Bearer t1" } else { "Bearer t0" };
        match request.path.ends_with(&digest) {
            _ if !is_authorized(request, token) => challenge(request),
            true if resumed => {
                Reply::new(206, &bytes[500_000..]).header("content-range", "bytes 500000-1199999/1200000")
            }
            true => sample.reply(request).cut_after(500_000),
            false => sample.reply(request),
        }
    })
    .await;
    let client = client("{}");
    let resolved = resolve(&client, &registry.host).await.unwrap();
    let mut reader = client.open(&resolved.origin, &layer).unwrap();
    let length = tokio::task::spawn_blocking(move || reader.read_to_end(&mut Vec::new())).await.unwrap();
    assert_eq!(length.unwrap() as u64, layer.size);
    assert_eq!(tokens.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_short_lived_token_is_renewed_before_it_is_refused() {
    let sample = sample();
    let registry = Registry::start(move |request, _| match request.path.split('?').next().unwrap() {
        "/token" => Reply::new(200, r#"{"token":"t","expires_in":1}"#),
        _ if is_authorized(request, "Bearer t") => sample.reply(request),
        _ => challenge(request),
    })
    .await;
    let client = client("{}");
    resolve(&client, &registry.host).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    resolve(&client, &registry.host).await.unwrap();
    assert_eq!(registry.requests_for("/token").len(), 2);
    assert_eq!(registry.requests_for("/v2/").len(), 5);
}

#[tokio::test]
async fn basic_authentication_needs_a_password() {
    let sample = sample();
    let registry = Registry::start(move |request, _| {
        if is_authorized(request, "Basic dTpw") {
            return sample.reply(request);
        }
        Reply::new(401, "").header("www-authenticate", "Basic realm=fake")
    })
    .await;
    resolve(&client(&config(&registry.host)), &registry.host).await.unwrap();
    let error = resolve(&client("{}"), &registry.host).await.unwrap_err();
    let ResolveError::Registry(RegistryError::NoPassword(host)) = error else { panic!("{error}") };
    assert_eq!(host, registry.host);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let sample = sample();
    let registry = Registry::start(move |request, _| match request.path.split('?').next().unwrap() {
        "/token" if request.method == "POST" => Reply::new(200, r#"{"access_token":"t"}"#),
        "/token" => Reply::new(400, ""),
        _ if is_authorized(request, "Bearer t") => sample.reply(request),
        _ => challenge(request),
    })
    .await;
    let config = format!(r#"{{"auths": {{"{}": {{"identitytoken": "s3cret"}}}}}}"#, registry.host);
    resolve(&client(&config), &registry.host).await.unwrap();
    let tokens = registry.requests_for("/token");
    assert!(
        tokens[0]
            .body
            .starts_with("grant_type=refresh_token&client_id=larder&refresh_token=s3cret&service=fake")
    );
    assert!(!tokens[0].path.contains("s3cret"));
}

#[tokio::test]
async fn a_refused_credential_fails_at_once_and_is_said_so() {
    let registry = Registry::start(|request, _| match request.path.split('?').next().unwrap() {
        "/token" => Reply::new(401, r#"{"details":"incorrect username or password"}"#),
        _ => challenge(request),
    })
    .await;
    let error = resolve(&client(&config(&registry.host)), &registry.host).await.unwrap_err();
    let text = chain(&error);
    assert!(
        text.ends_with("401 Unauthorized: incorrect username or password (a credential was sent)"),
        "{text}"
    );
    assert_eq!(registry.requests().len(), 2);
}

#[tokio::test]
async fn a_token_that_is_never_accepted_is_no_endless_loop() {
    let registry = Registry::start(|request, _| match request.path.split('?').next().unwrap() {
        "/token" => Reply::new(200, r#"{"token":"t"}"#),
        _ => challenge(request),
    })
    .await;
    let error = resolve(&client("{}"), &registry.host).await.unwrap_err();
    let ResolveError::Registry(RegistryError::Status { status, access, .. }) = error else {
        panic!("{error}")
    };
    assert_eq!((status.as_u16(), access), (401, Access::Anonymous));
    assert_eq!(registry.requests().len(), 3);
}

#[tokio::test]
async fn a_busy_token_server_is_asked_again() {
    let sample = sample();
    let registry = Registry::start(move |request, before| match request.path.split('?').next().unwrap() {
        "/token" if before == 0 => Reply::new(503, ""),
        "/token" => Reply::new(200, r#"{"token":"t"}"#),
        _ if is_authorized(request, "Bearer t") => sample.reply(request),
        _ => challenge(request),
    })
    .await;
    resolve(&client("{}"), &registry.host).await.unwrap();
    assert_eq!(registry.requests_for("/token").len(), 2);
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_credential_along() {
    let sample = Arc::new(sample());
    let stored = Arc::clone(&sample);
    let storage = Registry::start(move |request, _| stored.reply(request)).await;
    let target = storage.host.clone();
    let registry = Registry::start(move |request, _| {
        if !is_authorized(request, "Basic dTpw") {
            return Reply::new(401, "").header("www-authenticate", "Basic realm=fake");
        }
        if request.path.contains("/blobs/") {
            let location = format!("http://{target}{}?signature=s", request.path);
            return Reply::new(307, "").header("location", &location);
        }
        sample.reply(request)
    })
    .await;
    resolve(&client(&config(&registry.host)), &registry.host).await.unwrap();
    let requests = storage.requests();
    assert!(requests[0].path.ends_with("?signature=s"));
    assert!(requests.iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn a_host_that_was_redirected_to_cannot_ask_for_the_credential() {
    let thief = Registry::start(|request, _| match request.path.split('?').next().unwrap() {
        "/token" => Reply::new(200, r#"{"token":"t"}"#),
        _ => challenge(request),
    })
    .await;
    let target = thief.host.clone();
    let registry = Registry::start(move |request, _| {
        Reply::new(307, "").header("location", &format!("http://{target}{}?signature=s3cret", request.path))
    })
    .await;
    let error = resolve(&client(&config(&registry.host)), &registry.host).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("401") && text.contains(&thief.host) && !text.contains("s3cret"), "{text}");
    assert_eq!(thief.requests().len(), 1);
}

#[tokio::test]
async fn a_token_server_cannot_pass_the_credential_on() {
    let thief = Registry::start(|_, _| Reply::new(200, r#"{"token":"t"}"#)).await;
    let target = thief.host.clone();
    let registry = Registry::start(move |request, _| match request.path.split('?').next().unwrap() {
        "/token" => Reply::new(307, "").header("location", &format!("http://{target}/token")),
        _ => challenge(request),
    })
    .await;
    let config = format!(r#"{{"auths": {{"{}": {{"identitytoken": "s3cret"}}}}}}"#, registry.host);
    let error = resolve(&client(&config), &registry.host).await.unwrap_err();
    assert!(chain(&error).contains("307"), "{}", chain(&error));
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn another_registry_gets_nothing() {
    let sample = sample();
    let registry = Registry::start(move |request, _| sample.reply(request)).await;
    resolve(&client(&config("127.0.0.1:1")), &registry.host).await.unwrap();
    assert!(registry.requests().iter().all(|request| request.header("authorization").is_none()));
}
