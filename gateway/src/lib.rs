//! Runs a real Envoy on the shipped configuration.
