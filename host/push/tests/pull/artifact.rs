//! Models in registries.

use serde_json::json;

use crate::server::{Response, Server};
use crate::{Pull, hex, model};

/// A registry with one ModelPack artifact.
fn registry(content: &[u8], served: &[u8]) -> Server {
    let (content, served) = (content.to_vec(), served.to_vec());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": {"mediaType": "application/vnd.cncf.model.config.v1+json",
            "digest": format!("sha256:{}", hex(b"{}")), "size": 2},
        "layers": [{"mediaType": "application/vnd.cncf.model.weight.v1.raw",
            "digest": format!("sha256:{}", hex(&content)), "size": content.len(),
            "annotations": {"org.cncf.model.filepath": "m-Q2_0.gguf"}}],
    });
    let manifest = manifest.to_string();
    let digest = format!("sha256:{}", hex(manifest.as_bytes()));
    let blob = format!("/v2/team/m/blobs/sha256:{}", hex(&content));
    Server::start(move |request, _| match request.path.as_str() {
        "/v2/" => Response::ok("{}"),
        "/v2/team/m/manifests/1" => Response::ok(manifest.as_str())
            .with("content-type", "application/vnd.oci.image.manifest.v1+json")
            .with("docker-content-digest", digest.as_str()),
        path if path == blob => {
            let response = Response::file(request, &served, "\"one\"");
            let some = response.body.len().min(60_000);
            response.cut(some)
        }
        _ => Response::status("404 Not Found"),
    })
}

#[test]
fn an_artifact_is_pulled_resumed_and_checked() {
    let content = model(100_000);
    let server = registry(&content, &content);
    let name = format!(
        "oci://{}/team/m:1",
        server.address.strip_prefix("http://").unwrap()
    );
    let pull = Pull::new();
    let path = pull.got("", &["--plain-http", &name]);
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(path.file_name().unwrap(), "m-Q2_0.gguf");
    assert_eq!(pull.got("", &[&name]), path, "it is here");

    let mut other = content.clone();
    other[99_999] ^= 1;
    let server = registry(&content, &other);
    let name = format!(
        "oci://{}/team/m:1",
        server.address.strip_prefix("http://").unwrap()
    );
    let pull = Pull::new();
    let error = pull.refused("", &["--plain-http", &name]);
    assert!(error.contains("SHA-256"), "{error}");
    assert!(pull.finished().is_empty());
}
