//! What the benchmarks' helper programs share: whose tokens they are about.

/// The `iss` of the tokens: that of Entra's second endpoint version for one tenant.
pub const ISSUER: &str =
    "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0";

/// The `aud` of the tokens.
pub const AUDIENCE: &str = "api://openai-gateway";

/// The scope that the route asks for.
pub const SCOPE: &str = "openai.chat";
