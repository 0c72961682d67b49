//! The crate's public door, on each kind of source.

// `cfg(test)` marks the helpers in these files as test code for clippy.
#[cfg(test)]
mod fake;

#[cfg(test)]
mod auth;
#[cfg(test)]
mod local;
#[cfg(test)]
mod mirrors;
#[cfg(test)]
mod ranges;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod tokens;
