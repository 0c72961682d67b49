//! The kubelet's credential-provider plugins: programs that are asked for the credentials of an image, and whose answers are
//! kept as long as they say.

mod answer;
mod cache;
mod config;
mod error;
mod process;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_core::ImageRef;
use tokio::sync::Mutex;

use super::{Credential, matching};
use answer::Answer;
use cache::Cache;
use config::Provider;

pub use error::PluginError;

/// As long as the kubelet waits for a plugin.
const LIMIT: Duration = Duration::from_mins(1);
/// A plugin that failed is asked again no sooner, so that one that hangs holds up one image and not each of a list.
const FAILURE_PAUSE: Duration = Duration::from_secs(30);

/// A plugin of this node.
#[derive(Debug)]
pub(super) struct Plugin {
    provider: Provider,
    program: PathBuf,
    limit: Duration,
    /// Held while the plugin runs, so that whoever asks for the same meanwhile gets the answer that is kept.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cache: Cache,
    failed: Option<(Instant, Arc<PluginError>)>,
}

/// The plugins that the configuration file `config` names, whose programs are in `programs`.
pub(super) fn load(config: &Path, programs: &Path) -> Result<Vec<Plugin>, PluginError> {
    let bytes = std::fs::read(config)
        .map_err(|source| PluginError::ReadConfig { path: config.to_owned(), source })?;
    let providers = config::parse(config, &bytes)?;
    providers.into_iter().map(|provider| Plugin::new(provider, programs)).collect()
}

impl Plugin {
    fn new(provider: Provider, programs: &Path) -> Result<Self, PluginError> {
        let program = programs.join(&provider.name);
        if !process::is_executable(&program) {
            return Err(PluginError::NoProgram { plugin: provider.name, program });
        }
        Ok(Self { provider, program, limit: LIMIT, state: Mutex::default() })
    }

    /// Whether this plugin is to be asked for `image` at all.
    pub(super) fn is_for(&self, image: &ImageRef) -> bool {
        let for_image = |pattern: &String| matching::is_for(pattern, image.registry(), image.repository());
        self.provider.match_images.iter().any(for_image)
    }

    /// What the plugin has for `image`, the most specific first.
    pub(super) async fn credentials(&self, image: &ImageRef) -> Result<Vec<Credential>, Arc<PluginError>> {
        let mut state = self.state.lock().await;
        if let Some(answer) = state.cache.get(image, Instant::now()) {
            return Ok(answer.credentials(image));
        }
        if let Some((until, error)) = &state.failed
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        match self.ask(image).await {
            Ok(answer) => {
                let credentials = answer.credentials(image);
                state.failed = None;
                state.cache.put(image, answer, self.provider.default_cache_duration, Instant::now());
                Ok(credentials)
            }
            Err(error) => {
                let error = Arc::new(error);
                state.failed = Some((Instant::now() + FAILURE_PAUSE, error.clone()));
                Err(error)
            }
        }
    }

    async fn ask(&self, image: &ImageRef) -> Result<Answer, PluginError> {
        let Provider { name, api_version, needs_service_account, .. } = &self.provider;
        if *needs_service_account {
            return Err(PluginError::ServiceAccount { plugin: name.clone() });
        }
        let request = answer::request(api_version, image);
        let output = process::run(&self.provider, &self.program, request, self.limit).await?;
        answer::parse(name, api_version, &output)
    }
}

#[cfg(test)]
mod tests;
