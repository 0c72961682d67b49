//! From what was typed about registries to the options of their client.

use std::sync::Arc;

use larder_registry::{
    ClientOptions, GoogleTokens, PlainHttp, RangePolicy, RetryPolicy, Timeouts, TokenSource,
};

use crate::cli::RegistryArgs;

impl TryFrom<RegistryArgs> for ClientOptions {
    type Error = anyhow::Error;

    fn try_from(args: RegistryArgs) -> Result<Self, Self::Error> {
        let RegistryArgs {
            plain_http,
            ca_cert,
            mirror,
            docker_config,
            google_auth,
            retries,
            connect_timeout,
            stall_timeout,
        } = args;
        let plain_http = match plain_http {
            hosts if hosts.iter().any(|host| host == "*") => PlainHttp::All,
            hosts => PlainHttp::Hosts(hosts),
        };
        let mut token_sources: Vec<Arc<dyn TokenSource>> = Vec::new();
        if google_auth {
            token_sources.push(Arc::new(GoogleTokens::from_environment()?));
        }
        let usual = Timeouts::default();
        let timeouts = Timeouts {
            connect: connect_timeout.unwrap_or(usual.connect),
            answer: stall_timeout.unwrap_or(usual.answer),
            stall: stall_timeout.unwrap_or(usual.stall),
            ..usual
        };
        let usual = RetryPolicy::default();
        let attempts = retries.map_or(usual.attempts, |retries| retries.saturating_add(1));
        Ok(Self {
            plain_http,
            ca_certs: ca_cert,
            mirrors: mirror,
            token_sources,
            docker_config,
            timeouts,
            retry: RetryPolicy { attempts, ..usual },
            ranges: RangePolicy::default(),
        })
    }
}
