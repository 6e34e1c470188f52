//! Walks through what keyless does, on a real Envoy against Azure's stand-in on this machine.
//!
//! Ends with status 0 if every claim that it made was so. With `KEEP=1` in the environment all of
//! it keeps running afterwards, for you to try. With `--json` it says everything in one line of JSON at the end.

mod exchange;
mod report;
mod walk;

use std::{env, error::Error, process::ExitCode};

use gateway::{Blueprint, Gateway, StartOptions};
use local_azure::{LocalAzure, Options};

use exchange::PATH;
use report::{Form, Report};
use walk::Walk;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let form = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Form::text(),
        ["--json"] => Form::Json,
        _ => {
            eprintln!("Usage: demo [--json]");
            return ExitCode::from(2);
        }
    };
    let mut report = Report::new(form);
    match demonstrate(&mut report).await {
        Ok(()) if report.all_held() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            report.error(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

async fn demonstrate(report: &mut Report) -> Result<(), Box<dyn Error>> {
    let azure = LocalAzure::start(Options::default()).await?;
    let one_worker = StartOptions { workers: 1, ..StartOptions::default() };
    let gateway = Gateway::start(blueprint(&azure), one_worker).await?;
    introduce(report, &azure, &gateway);
    Walk::new(&azure, &gateway, report)?.all().await?;
    report.close();
    if env::var_os("KEEP").is_some_and(|keep| keep == "1") {
        if report.is_text() {
            invite(report, &azure, &gateway);
        }
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

/// Derives the demo's configuration: the shipped one, with one interval shortened.
fn blueprint(azure: &LocalAzure) -> Blueprint {
    Blueprint::shipped()
        .endpoint("entra", azure.issuer.address())
        .endpoint("imds", azure.imds.address())
        .endpoint("openai_provisioned", azure.openai.address())
        .endpoint("openai_pay_as_you_go", azure.openai.address())
        .endpoint("openai_pay_as_you_go", azure.openai.address())
        .endpoint("openai_single", azure.openai.address())
        .endpoint("on_prem", azure.openai.address())
        .plugin(|plugin| plugin["issuers"][0]["jwks"]["unknown_kid_interval"] = "1s".into())
}

fn introduce(report: &mut Report, azure: &LocalAzure, gateway: &Gateway) {
    report.title("keyless in a real Envoy, in front of an Azure that runs on this machine");
    report.line("gateway", &format!("{}  envoy.yaml as shipped, endpoints swapped", gateway.url()));
    report.line(
        "issuer",
        &format!("http://{}  as login.microsoftonline.com", azure.issuer.address()),
    );
    report.line("IMDS", &format!("http://{}  as 169.254.169.254", azure.imds.address()));
    report.line(
        "OpenAI",
        &format!("http://{}  as my-openai.openai.azure.com", azure.openai.address()),
    );
    report.line("changed", "unknown_kid_interval is 1s, not 30s, so that step 5 is short");
    report.line("request", &format!("POST {PATH}"));
}

fn invite(report: &mut Report, azure: &LocalAzure, gateway: &Gateway) {
    let (control, url, admin) = (azure.control_url(), gateway.url(), gateway.admin_url());
    let bearer = r#"-H "authorization: Bearer $token""#;
    let json = "-H 'content-type: application/json'";
    let chat = format!("curl -sS '{url}{PATH}' {bearer} {json}");
    let messages = r#""messages":[{"role":"user","content":"Hello"}]"#;
    report.title("It keeps running until Ctrl-C; try:");
    for command in [
        format!("token=$(curl -sS -X POST {control}/issuer/token)"),
        format!("{chat} -d '{{{messages}}}'"),
        format!("{chat} -N -d '{{\"stream\":true,{messages}}}'"),
        format!("curl -sS -i -X POST '{url}{PATH}'"),
        format!("curl -sS {control}/openai/requests"),
        format!("curl -sS {admin}/stats/prometheus | grep keyless"),
        format!("curl -sS {control}/"),
    ] {
        report.command(&command);
    }
}
