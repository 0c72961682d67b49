//! Which images of the disk are meant.

use larder_core::{Image, ImageRef};

/// An image that was asked for is not on the disk.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{wanted} is not on the disk, which has {available}")]
pub struct NotOnDisk {
    /// What was asked for.
    pub wanted: Box<ImageRef>,
    /// What there is, separated by commas.
    pub available: String,
}

/// The wanted images in their order, or all where none is named.
pub(super) fn choose<'a>(images: &'a [Image], wanted: &[ImageRef]) -> Result<Vec<&'a Image>, NotOnDisk> {
    if wanted.is_empty() {
        return Ok(images.iter().collect());
    }
    let find = |wanted: &ImageRef| images.iter().find(|image| is_meant(wanted, image));
    wanted.iter().map(|wanted| find(wanted).ok_or_else(|| not_on_disk(images, wanted))).collect()
}

/// An image is meant by its name, or by its repository at a digest that leads to it.
fn is_meant(wanted: &ImageRef, image: &Image) -> bool {
    let leads_to = |digest| {
        let target = [image.target(), &image.manifest].map(|blob| blob.descriptor.digest);
        target.contains(&digest)
    };
    *wanted == image.reference
        || (wanted.name() == image.reference.name() && wanted.digest().is_some_and(leads_to))
}

fn not_on_disk(images: &[Image], wanted: &ImageRef) -> NotOnDisk {
    let names: Vec<_> = images.iter().map(|image| image.reference.to_string()).collect();
    let available = if names.is_empty() { "no image".to_owned() } else { names.join(", ") };
    NotOnDisk { wanted: Box::new(wanted.clone()), available }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::image;

    #[test]
    fn images_are_chosen_by_name_and_by_digest() {
        let images = [image("a:1", &["x"]), image("b:1", &["x", "y"])];
        let names = |wanted: &[&str]| {
            let wanted: Vec<ImageRef> = wanted.iter().map(|text| text.parse().unwrap()).collect();
            let chosen = choose(&images, &wanted)?;
            Ok::<_, NotOnDisk>(chosen.iter().map(|image| image.reference.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(
            names(&[]),
            Ok(vec!["docker.io/library/a:1".to_owned(), "docker.io/library/b:1".to_owned()])
        );
        assert_eq!(names(&["b:1"]), Ok(vec!["docker.io/library/b:1".to_owned()]));
        for digest in [images[1].target(), &images[1].manifest].map(|blob| blob.descriptor.digest) {
            assert_eq!(names(&[&format!("b@{digest}")]), Ok(vec!["docker.io/library/b:1".to_owned()]));
            assert!(names(&[&format!("a@{digest}")]).is_err());
        }
        let error = names(&["c"]).unwrap_err().to_string();
        assert!(error.ends_with("which has docker.io/library/a:1, docker.io/library/b:1"), "{error}");
    }
}
