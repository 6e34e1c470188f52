//! The module's image: built here from the last stage of the `Dockerfile`, as an OCI archive and
//! without an engine, and read as Istio's agent reads it.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const DOCKERFILE: &str = include_str!("../../Dockerfile");
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Names an image, or an earlier stage, and what is done to it.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) from: String,
    pub(super) name: Option<String>,
    instructions: Vec<String>,
}

/// Reads the stages of the `Dockerfile`.
pub(super) fn stages() -> Vec<Stage> {
    let text = DOCKERFILE.replace("\\\n", " ");
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut stages: Vec<Stage> = Vec::new();
    for line in lines {
        match line.strip_prefix("FROM ") {
            None => stages.last_mut().expect("FROM comes first").instructions.push(line.to_owned()),
            Some(base) => {
                let mut words = base.split(' ').filter(|word| !word.starts_with("--"));
                let from = words.next().unwrap().to_owned();
                let name = words.nth(1).map(str::to_owned);
                stages.push(Stage { from, name, instructions: Vec::new() });
            }
        }
    }
    stages
}

/// Builds the last stage, which may copy one file into nothing, as an OCI image layout in a tar file.
fn build(module: &[u8]) -> Vec<u8> {
    let stage = stages().pop().unwrap();
    assert_eq!(stage.from, "scratch");
    let [copy] = &stage.instructions[..] else { panic!("not one layer: {stage:?}") };
    let words: Vec<&str> = copy.split(' ').collect();
    let ["COPY", _, source, destination] = words[..] else { panic!("no plain COPY: {copy}") };
    assert!(source.ends_with("/wasm32-wasip1/release/keyless.wasm"), "{source}");

    let files = tar(&[(destination.trim_start_matches('/'), module)]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&files).unwrap();
    let layer = gzip.finish().unwrap();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [digest(&files)] },
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor(LAYER, &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor(MANIFEST, &manifest)] });
    let blob = |bytes: &[u8]| format!("blobs/{}", digest(bytes).replace(':', "/"));
    tar(&[
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", index.to_string().as_bytes()),
        (&blob(&manifest), &manifest),
        (&blob(&config), &config),
        (&blob(&layer), &layer),
    ])
}

/// Reads the module out of an archive by the rules of `pkg/wasm/imagefetcher.go` of Istio.
fn load(archive: &[u8]) -> Result<Vec<u8>, &'static str> {
    let files = untar(archive);
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        files[&format!("blobs/{}", digest.replace(':', "/"))].clone()
    };
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let index = parse(&files["index.json"]);
    let manifest = parse(&blob(&index["manifests"][0]));
    let config = parse(&blob(&manifest["config"]));
    if (&config["os"], &config["architecture"]) != (&json!("linux"), &json!("amd64")) {
        return Err("not of linux/amd64");
    }
    let layer = manifest["layers"].as_array().unwrap().last().ok_or("no layer")?;
    if layer["mediaType"] != LAYER {
        return Err("not gzip");
    }
    let mut files = Vec::new();
    GzDecoder::new(&blob(layer)[..]).read_to_end(&mut files).map_err(|_| "not gzip")?;
    untar(&files).remove("plugin.wasm").ok_or("no plugin.wasm")
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

fn untar(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(path, bytes);
    }
    files
}

#[test]
fn istios_agent_finds_the_module_in_the_image() {
    let module = b"\0asm\x01\0\0\0";
    assert_eq!(load(&build(module)).as_deref(), Ok(&module[..]));
}
