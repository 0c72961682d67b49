//! One layer onto the disk: opened, inflated, unpacked and proven; and once more from elsewhere if its blob was not the right one.

use std::io::{self, BufRead};
use std::sync::{Mutex, PoisonError};

use larder_core::DiffId;

use super::stream::{Hashed, Rest, Watched};
use super::{Bake, BuildError};
use crate::ext4::{Ext4Error, Volume};
use crate::inflate::inflate;
use crate::layer::{LayerError, unpack};
use crate::tree::Tree;

/// Why an attempt failed.
enum Failure {
    /// The blob cannot be read to its end, or is another one.
    Blob(io::Error),
    /// It is the right blob, but it cannot be inflated.
    Inflate(io::Error),
    /// It is the right blob, but not a layer, or the disk cannot be written.
    Layer(LayerError),
    /// It is the right blob, but the layer is another than the image says.
    DiffId(DiffId),
    /// The disk cannot be written.
    Write(Ext4Error),
}

/// Lays out the `index`th layer of the plan. Each attempt is at another place, of which the source has few.
pub(super) fn lay_out(bake: &Bake<'_>, index: usize) -> Result<Tree, BuildError> {
    let layer = bake.plan.layers[index].layer;
    loop {
        let volume = bake.volume.for_layer();
        let read = Mutex::new(Rest::default());
        let failure = match attempt(bake, index, &volume, &read) {
            Ok(tree) => {
                bake.shared.reporter.finished(layer);
                return Ok(tree);
            }
            Err(failure) => failure,
        };
        let rest = read.into_inner().unwrap_or_else(PoisonError::into_inner);
        let taken = rest.taken;
        match judged(failure, rest, &|| bake.shared.ended()) {
            Failure::Blob(error) if bake.source.is_elsewhere(&error) && !bake.shared.ended() => {
                volume.withdraw();
                bake.shared.restart(layer, taken);
            }
            failure => return Err(told(bake, index, failure)),
        }
    }
}

fn attempt<'a>(
    bake: &Bake<'a>,
    index: usize,
    volume: &Volume,
    rest: &Mutex<Rest<'a>>,
) -> Result<Tree, Failure> {
    let layer = bake.plan.layers[index].layer;
    let blob = bake.source.open(layer).map_err(Failure::Blob)?;
    let blob = Watched::new(blob, layer, bake.shared, rest);
    std::thread::scope(|scope| {
        // The scope ends with the inflating thread, and that leaves the rest of the blob where it can be judged.
        let (inflated, _thread) = inflate(scope, Box::new(blob));
        let mut writer = volume.writer();
        let hashed = Hashed::new(inflated, bake.max_layer_size);
        let ended = || bake.shared.ended();
        let (tree, stream) = unpack(hashed, layer.parent.is_none(), &mut writer, &ended)
            .map_err(|error| error.into_stream_error().map_or_else(Failure::Layer, Failure::Inflate))?;
        let found = stream.finish().map_err(Failure::Inflate)?;
        if found != layer.diff_id {
            return Err(Failure::DiffId(found));
        }
        writer.finish().map_err(Failure::Write)?;
        Ok(tree)
    })
}

/// Whose fault it is: a blob that cannot be inflated or unpacked may simply not be the right one, which its end tells.
fn judged(failure: Failure, rest: Rest<'_>, ended: &dyn Fn() -> bool) -> Failure {
    let of_blob = match &failure {
        Failure::Inflate(_) | Failure::Layer(LayerError::Tar(_) | LayerError::Entry { .. }) => true,
        Failure::Layer(LayerError::Write(_)) | Failure::Write(_) | Failure::Blob(_) | Failure::DiffId(_) => {
            false
        }
    };
    let Rest { blob, error, taken: _ } = rest;
    if !of_blob {
        return failure;
    }
    let error = error.or_else(|| blob.and_then(|blob| prove(blob, ended).err()));
    error.map_or(failure, Failure::Blob)
}

/// Reads a blob to its end, where its source proves it; or until the build has `ended`.
fn prove(mut blob: Box<dyn BufRead + Send + '_>, ended: &dyn Fn() -> bool) -> io::Result<()> {
    while !ended() {
        let length = blob.fill_buf()?.len();
        if length == 0 {
            break;
        }
        blob.consume(length);
    }
    Ok(())
}

fn told(bake: &Bake<'_>, index: usize, failure: Failure) -> BuildError {
    let planned = &bake.plan.layers[index];
    let (image, layer) = (planned.image.reference.to_string(), planned.layer.descriptor.digest);
    match failure {
        _ if bake.shared.cancel.is_cancelled() => BuildError::Cancelled,
        Failure::Blob(source) | Failure::Inflate(source) => BuildError::Source { image, layer, source },
        Failure::Layer(LayerError::Write(source)) | Failure::Write(source) => bake.write_error(source),
        Failure::Layer(error) => BuildError::Layer { image, layer, reason: error.to_string() },
        Failure::DiffId(found) => BuildError::DiffId { image, layer, expected: planned.layer.diff_id, found },
    }
}
