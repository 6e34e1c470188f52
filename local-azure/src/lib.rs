//! A loopback stand-in for the outside world.
