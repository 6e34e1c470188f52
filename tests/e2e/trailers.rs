//! Fields that come after the body, where both sides have been told to take them.

use gateway::Blueprint;

use testkit::world::{CHAT, World, chat_body};

#[tokio::test]
async fn credentials_in_the_trailers_do_not_reach_the_backend() {
    let world = World::with(with_trailers).await;
    let (body, token) = (chat_body(false).to_string(), world.token());
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\n\
        content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
        {:x}\r\n{body}\r\n0\r\nAuthorization: Bearer spoofed\r\nauthorization: spoofed\r\n\
        api-key: spoofed\r\nOcp-Apim-Subscription-Key: spoofed\r\nx-caller-id: spoofed\r\n\
        x-ms-token-aad-id-token: spoofed\r\nCookie: spoofed\r\nx-checksum: 1\r\n\r\n",
        body.len()
    );
    for mut line in world.lines().await {
        let reply = line.ask(request.as_bytes()).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let requests = world.azure.openai.requests();
    assert_eq!(requests.len(), 2);
    for seen in requests {
        world.assert_swapped(&seen, &token);
        assert_eq!(seen.trailers, [("x-checksum".to_owned(), b"1".to_vec())], "only the harmless");
    }
    world.assert_unharmed().await;
}

/// Lets HTTP/1.1 trailers through, which Envoy drops unless told otherwise.
pub(crate) fn with_trailers(shipped: Blueprint) -> Blueprint {
    let shipped = shipped.connection_manager(|manager| {
        manager["http_protocol_options"]["enable_trailers"] = true.into();
    });
    shipped.edit(|bootstrap| {
        let clusters = bootstrap["static_resources"]["clusters"].as_sequence_mut().unwrap();
        let tier = |cluster: &&mut serde_yaml_ng::Value| cluster["name"] == "openai_provisioned";
        let openai = clusters.iter_mut().find(tier).unwrap();
        let options = &mut openai["typed_extension_protocol_options"]
            ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
        options.as_mapping_mut().unwrap().remove("auto_config");
        options["explicit_http_config"]["http_protocol_options"]["enable_trailers"] = true.into();
    })
}
