//! Has the unwinder linked into the object: Envoy's distroless image has no `libgcc_s.so.1`.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=link");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-link-search=native={folder}/link");
    }
}
