//! Azure's own SDKs take tokens from local-azure's IMDS.

use std::collections::BTreeMap;

use local_azure::{LocalAzure, Options, Recorded};
use serde_json::{Value, json};

use crate::openai_sdk::{Call, Interface, Sdk};
use crate::program::Program;
use testkit::world::{RESOURCE, World};

const SDKS: [Program; 2] =
    [Program::Python("azure_identity.py"), Program::Node("azure-identity.mjs")];

const SYSTEM_ASSIGNED: (&str, &str) = ("system-assigned", "");
const GUID: &str = "c0ffee00-1d2e-4f3a-9b4c-5d6e7f8091a2";
const SELECTIONS: [(&str, &str); 4] = [
    SYSTEM_ASSIGNED,
    ("client_id", GUID),
    ("object_id", GUID),
    (
        "msi_res_id",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/\
        userAssignedIdentities/gateway",
    ),
];

async fn azure() -> LocalAzure {
    LocalAzure::start(Options::default()).await.unwrap()
}

/// Asks for a token of the selected identity, at the IMDS that this variable of the SDKs names.
async fn token(azure: &LocalAzure, sdk: Program, (select, id): (&str, &str)) -> Value {
    let imds = format!("http://{}", azure.imds.address());
    let environment = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", imds.as_str())];
    let scope = format!("{RESOURCE}/.default");
    sdk.run(&environment, &json!({ "select": select, "id": id, "scope": scope })).await
}

/// Returns the path that an SDK asks for where keyless asks for this one: Azure's for Node.js appends
/// a slash to any address that it is given, though not to its built-in one.
fn path_of(sdk: Program, path: &str) -> String {
    match sdk {
        Program::Node(_) => format!("{path}/"),
        Program::Go(_) | Program::Python(_) => path.to_owned(),
    }
}

fn path(request: &Recorded) -> &str {
    request.target.split('?').next().unwrap()
}

fn query(request: &Recorded) -> BTreeMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://imds{}", request.target)).unwrap();
    url.query_pairs().into_owned().collect()
}

#[tokio::test]
async fn azures_sdks_take_a_token_of_each_kind_of_identity() {
    for sdk in SDKS {
        for selection in SELECTIONS {
            let azure = azure().await;
            let answer = token(&azure, sdk, selection).await;
            let [issued] = &azure.imds.issued()[..] else { panic!("{sdk:?}: {answer}") };
            assert_eq!(answer["token"], issued.as_str(), "{sdk:?} {selection:?}");
            assert!(azure.imds.accepts(issued, RESOURCE), "{sdk:?} {selection:?}");
            let now = azure.issuer.claims()["iat"].as_u64().unwrap();
            let left = answer["expires_on"].as_u64().unwrap() - now;
            assert!((86_300..=86_400).contains(&left), "{sdk:?}: a day, not {left} s");
        }
    }
}

#[tokio::test]
async fn azures_sdks_understand_that_an_identity_does_not_exist() {
    for sdk in SDKS {
        let azure = azure().await;
        let answer = token(&azure, sdk, ("client_id", "nobody")).await;
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("{sdk:?}: {answer}"));
        assert!(error.contains("Identity not found"), "{sdk:?}: {error}");
    }
}

#[tokio::test]
async fn keyless_asks_imds_what_azures_sdks_ask() {
    for selection in SELECTIONS {
        let world = World::with(|shipped| {
            shipped.plugin(|plugin| {
                if selection != SYSTEM_ASSIGNED {
                    plugin["identities"]["openai"]["imds"][selection.0] = selection.1.into();
                }
            })
        });
        let world = world.await;
        world.admits(&world.token(), world.chat()).await;
        let ours = world.azure.imds.requests().remove(0);
        for sdk in SDKS {
            let azure = azure().await;
            token(&azure, sdk, selection).await;
            let theirs = azure.imds.requests().remove(0);
            assert_eq!(ours.method, theirs.method, "{sdk:?}");
            assert_eq!(path_of(sdk, path(&ours)), path(&theirs), "{sdk:?}");
            assert_eq!(query(&ours), query(&theirs), "{sdk:?}");
            assert_eq!(ours.header("metadata"), theirs.header("metadata"), "{sdk:?}");
        }
    }
}

#[tokio::test]
async fn azures_and_openais_sdks_need_no_gateway_in_front_of_local_azure() {
    let azure = azure().await;
    for (identity, openai) in SDKS.into_iter().zip(Sdk::BOTH) {
        let answer = token(&azure, identity, SYSTEM_ASSIGNED).await;
        let token = answer["token"].as_str().unwrap();
        let endpoint = format!("http://{}", azure.openai.address());
        for interface in Interface::BOTH {
            for call in Call::GRANTED {
                let answer = openai.order(&endpoint, token).through(interface).ask(call).await;
                call.assert_answered(&answer);
            }
        }
    }
}
