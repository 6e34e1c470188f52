//! The preset for Entra: tenants, clouds, clients, and what follows from them.

use keyless_core::config::Config;
use keyless_core::jwt::EntryIndex;
use keyless_core::jwt::Issuer;
use serde_json::{Value, json};

use super::{
    OTHER_TENANT, TENANT, accepted, assert_refused, assert_texts_refused, base, grants, known_keys,
    message, parse, remote,
};

fn tenants(config: &Config) -> Vec<&Issuer> {
    config.issuers.iter().filter(|issuer| issuer.tenant.is_some()).collect()
}

#[test]
fn an_entry_becomes_an_issuer_for_each_tenant() {
    let config = parse(&base()).unwrap();
    let tenants = tenants(&config);
    assert_eq!(tenants.len(), 2);
    for (issuer, id) in tenants.into_iter().zip([TENANT, OTHER_TENANT]) {
        assert_eq!((issuer.entry.0, &*issuer.name), (2, "entra"), "they share the entry");
        assert_eq!(issuer.audiences, ["api://openai-gateway"]);
        assert_eq!(issuer.clients, ["app"]);
        assert_eq!(remote(issuer).cluster, "entra");
        let tenant = issuer.tenant.as_ref().unwrap();
        assert_eq!((tenant.id.as_str(), &tenant.accepted), (id, &issuer.accepted));
    }
    assert_eq!(config.issuers[4].entry.0, 3, "entries count, not tenants");
}

#[test]
fn a_tenant_has_two_issuers_and_one_key_set_in_each_cloud() {
    let clouds = [
        ("public", "login.microsoftonline.com", "sts.windows.net"),
        ("us-government", "login.microsoftonline.us", "sts.windows.net"),
        ("china", "login.partner.microsoftonline.cn", "sts.chinacloudapi.cn"),
    ];
    for (cloud, authority, sts) in clouds {
        let config = accepted("/issuers/2/entra/cloud", json!(cloud));
        for (issuer, id) in tenants(&config).into_iter().zip([TENANT, OTHER_TENANT]) {
            let version_2 = format!("https://{authority}/{id}/v2.0");
            assert_eq!(issuer.accepted, [version_2, format!("https://{sts}/{id}/")]);
            let path = format!("/{id}/discovery/v2.0/keys");
            assert_eq!(known_keys(issuer), (authority, path.as_str()));
        }
    }
    let unsaid = accepted("/issuers/2/entra", json!({ "tenants": [TENANT] }));
    assert!(tenants(&unsaid)[0].accepted[0].starts_with("https://login.microsoftonline.com/"));
}

#[test]
fn a_tenant_in_capitals_is_the_same_tenant() {
    let config = accepted("/issuers/2/entra/tenants", json!([TENANT.to_uppercase()]));
    assert_eq!(tenants(&config)[0].tenant.as_ref().unwrap().id, TENANT);
    assert!(tenants(&config)[0].accepted.iter().all(|issuer| issuer.contains(TENANT)));
}

#[test]
fn without_clients_every_application_is_one_of_them() {
    let config = accepted("/issuers/2/entra/clients", json!([]));
    assert!(tenants(&config)[0].admits_client(None));
    let config = accepted("/issuers/2/entra/clients", json!(["app", "tool"]));
    let issuer = tenants(&config)[1];
    assert!(issuer.admits_client(Some("app")) && issuer.admits_client(Some("tool")));
    assert!(!issuer.admits_client(Some("App")) && !issuer.admits_client(None));
}

#[test]
fn a_grant_that_names_the_entry_holds_for_each_of_its_tenants() {
    let config = accepted("/routes/0/allow/1/issuer", json!("entra"));
    let entry = grants(&config, 0)[1].issuer.unwrap();
    assert!(tenants(&config).into_iter().all(|issuer| issuer.entry == entry));
    let config = accepted("/routes/0/allow/1/issuer", json!("accounts.example.com"));
    assert_eq!(grants(&config, 0)[1].issuer, Some(EntryIndex(3)), "entries count, not tenants");
}

#[test]
fn what_is_no_tenant_is_told_what_to_write_instead() {
    let expected = "a tenant's id such as \"72f988bf-86f1-41af-91ab-2d7cd011db47\"; in place of \
                  `common` or `organizations` list every tenant whose tokens you accept";
    let names = ["", "common", "organizations", "consumers", "contoso.onmicrosoft.com"];
    let nearly = [
        "72f988bf",
        "72f988bf86f141af91ab2d7cd011db47",
        "{72f988bf-86f1-41af-91ab-2d7cd011db47}",
        "72f988bf-86f1-41af-91ab-2d7cd011db4",
        "72f988bf-86f1-41af-91ab-2d7cd011db477",
        "72f988bf-86f1-41af-91ab-2d7cd011db4g",
        "72f988bf-86f141af-91ab-2d7cd011db47-",
        " 72f988bf-86f1-41af-91ab-2d7cd011db47",
    ];
    assert_texts_refused("/issuers/2/entra/tenants/1", expected, &names);
    assert_texts_refused("/issuers/2/entra/tenants/1", expected, &nearly);
}

#[test]
fn a_cloud_is_one_of_three() {
    let expected = "one of \"public\", \"us-government\", \"china\"";
    let names = ["", "Public", "azure", "usgovernment", "germany"];
    assert_texts_refused("/issuers/2/entra/cloud", expected, &names);
}

#[test]
fn an_entry_trusts_either_an_issuer_or_entra() {
    let both = message("/issuers/2/issuer", Some(json!("https://idp.example.org/")));
    assert_eq!(both, "issuers[2]: expected `issuer` or `entra`, found both");
    for (pointer, at) in [("/issuers/1/issuer", 1), ("/issuers/2/entra", 2)] {
        let expected = format!("issuers[{at}]: expected `issuer` or `entra`, found neither");
        assert_eq!(message(pointer, None), expected);
    }
}

#[test]
fn a_tenant_is_listed_once_in_whatever_cloud() {
    let version_2 = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let problem =
        format!("expected a value of its own, found {version_2:?}, which issuers[2] has already");
    let twice = [TENANT, OTHER_TENANT, &TENANT.to_uppercase()];
    assert_refused("/issuers/2/entra/tenants", json!(twice), &problem);

    let second = |entra: Value| {
        json!({
            "name": "second", "entra": entra, "audiences": ["a"], "jwks": { "cluster": "c" }
        })
    };
    let found = message("/issuers/3", Some(second(json!({ "tenants": [TENANT] }))));
    assert_eq!(found, format!("issuers[3].entra.tenants: {problem}"));
    let abroad = json!({ "tenants": [TENANT], "cloud": "us-government" });
    let version_1 = format!("https://sts.windows.net/{TENANT}/");
    let clash =
        format!("expected a value of its own, found {version_1:?}, which issuers[2] has already");
    let found = message("/issuers/3", Some(second(abroad)));
    assert_eq!(found, format!("issuers[3].entra.tenants: {clash}"));
    assert_eq!(
        message("/issuers/3/issuer", Some(json!(version_2))),
        format!("issuers[3].issuer: {problem}"),
        "a tenant's issuer by hand"
    );
}

#[test]
fn where_a_tenants_keys_are_is_not_for_the_configuration_to_say() {
    let problem = "expected no such key beside `entra`, since the keys are the tenant's, found one";
    assert_refused("/issuers/2/jwks/uri", json!("https://login.example.com/keys"), problem);
    let problem = "expected no such key beside `entra`, since the keys are the tenant's, found one";
    assert_refused("/issuers/2/jwks/discovery", json!(true), problem);
}
