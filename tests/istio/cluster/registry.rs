//! Registries of images: one for everybody, one that wants a password.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Authority, Program, folder, output, until};

/// Who may pull from the private registry, and with which password.
pub(crate) const PULLER: (&str, &str) = ("puller", "let-me-pull");

/// Holds both registries, which have the same images.
#[derive(Debug)]
pub(crate) struct Registry(#[expect(dead_code, reason = "they run")] [Program; 2]);

impl Registry {
    pub(crate) async fn start(authority: &Authority) -> Self {
        let own = authority.files("registry", &["registry.example.com"]);
        let passwords = folder().join("world/htpasswd");
        let hash = "$2b$05$eXI5iST.5t7xAti3j4fdWeNkY2/imVTYpsRV4sSDYmM5jd51S3FbG";
        fs::write(&passwords, format!("{}:{hash}\n", PULLER.0)).unwrap();
        // The realm must look like a URL, or the agent's client does not log in.
        let private = format!(
            "auth: {{ htpasswd: {{ realm: https://registry.example.com, path: {} }} }}",
            passwords.display()
        );
        let open = serve("registry", 443, &own, "");
        let private = serve("private-registry", 8443, &own, &private);
        until("the registries listen", async || {
            let listens =
                async |port| tokio::net::TcpStream::connect(("10.78.0.6", port)).await.is_ok();
            listens(443).await && listens(8443).await
        })
        .await;
        Self([open, private])
    }

    /// Pushes the module under this tag and returns the digest of the image's manifest, `sha256:…`.
    pub(crate) fn push(&self, module: &Path, tag: &str) -> String {
        let layer = folder().join("world/layer");
        fs::create_dir_all(&layer).unwrap();
        fs::copy(module, layer.join("plugin.wasm")).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(&layer)
            .arg("-czf")
            .arg(folder().join("world/layer.tar.gz"))
            .arg("plugin.wasm");
        output(tar, "").unwrap();
        let mut crane = Command::new(folder().join("bin/crane"));
        crane.args(["append", "--oci-empty-base=false", "-f"]);
        crane.arg(folder().join("world/layer.tar.gz"));
        crane.args(["-t", &format!("registry.example.com/keyless:{tag}")]);
        let pushed = output(crane, "").unwrap();
        let (_, digest) = pushed.trim().rsplit_once('@').expect("an image's name and digest");
        digest.to_owned()
    }
}

fn serve(name: &'static str, port: u16, own: &(String, String), access: &str) -> Program {
    let configuration = format!(
        "version: 0.1\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
         http: {{ addr: \"10.78.0.6:{port}\", secret: one, tls: {{ certificate: {}, key: {} }} }}\n{access}\n",
        folder().join("world/images").display(),
        own.0,
        own.1,
    );
    let file = folder().join("world").join(format!("{name}.yml"));
    fs::write(&file, configuration).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(file);
    Program::start(name, command)
}
