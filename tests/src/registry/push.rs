//! Pushing (OCI distribution spec, "Push"): blobs first, then what names them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use larder_core::{Blob, Descriptor, ImageRef};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Body, Client, Method, RequestBuilder, Response, Url};

use super::Credentials;
use crate::image::{Family, Image, MultiImage};

/// The largest blobs here are gigabytes, on the same machine.
const REQUEST: Duration = Duration::from_mins(5);

/// How one registry is spoken to.
#[derive(Debug)]
pub(super) struct Api {
    http: Client,
    root: Url,
    credentials: Option<Credentials>,
}

impl Api {
    /// `root` is like `http://127.0.0.1:40123/`.
    pub(super) fn new(http: Client, root: &str, credentials: Option<Credentials>) -> Result<Self> {
        let root = Url::parse(root).with_context(|| format!("the URL {root}"))?;
        Ok(Self { http, root, credentials })
    }

    pub(super) async fn push_image(&self, image: &Image, to: &ImageRef) -> Result<()> {
        self.push_blobs(image, to).await?;
        self.push_manifest(&image.manifest, to).await
    }

    pub(super) async fn push_index(&self, images: &MultiImage, to: &ImageRef) -> Result<()> {
        for image in &images.images {
            self.push_image(image, &to.at(image.digest())).await?;
        }
        self.push_manifest(&images.index, to).await
    }

    async fn push_blobs(&self, image: &Image, to: &ImageRef) -> Result<()> {
        for layer in &image.layers {
            let open = async || Ok(Body::from(tokio::fs::File::open(layer.path()).await?));
            self.push_blob(&layer.descriptor(Family::Oci), open, to).await?;
        }
        let config = async || Ok(Body::from(image.config.bytes.clone()));
        self.push_blob(&image.config.descriptor, config, to).await
    }

    async fn push_blob(
        &self,
        blob: &Descriptor,
        open: impl AsyncFnOnce() -> Result<Body>,
        to: &ImageRef,
    ) -> Result<()> {
        let blobs = format!("/v2/{}/blobs", to.repository());
        let there = self.request(Method::HEAD, &format!("{blobs}/{}", blob.digest))?.send().await?;
        if there.status().is_success() {
            return Ok(());
        }
        let upload = answered(self.request(Method::POST, &format!("{blobs}/uploads/"))?).await?;
        let location = upload.headers().get(LOCATION).context("an upload without a location")?.to_str()?;
        let mut url = self.root.join(location)?;
        url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let put = self.at(Method::PUT, url).header("content-length", blob.size);
        answered(put.body(open().await?)).await.with_context(|| format!("blob {}", blob.digest))?;
        Ok(())
    }

    async fn push_manifest(&self, manifest: &Blob, to: &ImageRef) -> Result<()> {
        let digest = manifest.descriptor.digest.to_string();
        let name = to.tag().unwrap_or(&digest);
        let put = self.request(Method::PUT, &format!("/v2/{}/manifests/{name}", to.repository()))?;
        let put = put.header(CONTENT_TYPE, &manifest.descriptor.media_type).body(manifest.bytes.clone());
        answered(put).await.with_context(|| format!("manifest {name}"))?;
        Ok(())
    }

    /// Any path; used to leave a mark in the log too.
    pub(super) async fn get(&self, path: &str) -> Result<Response> {
        answered(self.request(Method::GET, path)?).await
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder> {
        Ok(self.at(method, self.root.join(path)?))
    }

    /// A registry may want an upload elsewhere: the credentials are not for there.
    fn at(&self, method: Method, url: Url) -> RequestBuilder {
        let ours = url.origin() == self.root.origin();
        let request = self.http.request(method, url).timeout(REQUEST);
        match self.credentials.as_ref().filter(|_| ours) {
            Some(Credentials { user, password }) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }
}

async fn answered(request: RequestBuilder) -> Result<Response> {
    let response = request.send().await?;
    if !response.status().is_success() {
        let status = response.status();
        bail!("the registry answered {status}: {}", response.text().await?);
    }
    Ok(response)
}
