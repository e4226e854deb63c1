//! What the admin API says of backends and targets; the one place that knows the shape of `/_aegis/status`.

use serde_json::Value;

use super::gateway::Gateway;

/// The entry of `backends` with this name.
pub fn backend_status(gateway: &Gateway, name: &str) -> Value {
    let status = gateway.admin_json("/_aegis/status");
    let backends = status["backends"].as_array().unwrap_or_else(|| panic!("no backends in {status}"));
    backends.iter().find(|b| b["name"] == name).unwrap_or_else(|| panic!("no {name} in {status}")).clone()
}

impl Gateway {
    /// `closed`, `half-open` or `open`: the breaker of a backend's first target.
    pub fn circuit(&self, backend: &str) -> String {
        let status = backend_status(self, backend);
        status["targets"][0]["circuit"]
            .as_str()
            .unwrap_or_else(|| panic!("no circuit in {status}"))
            .to_owned()
    }

    /// Holds a backend's breakers open, whatever they decide themselves: a pause is short.
    pub fn hold_open(&self, backend: &str) {
        let path = format!("/_aegis/backends/{backend}/breaker");
        assert_eq!(self.admin_post(&path, r#"{"state":"open"}"#).status, 200);
    }

    /// How often the breaker of a backend's first target has opened.
    pub fn opened(&self, backend: &str) -> u64 {
        let status = backend_status(self, backend);
        status["targets"][0]["circuitOpened"]
            .as_u64()
            .unwrap_or_else(|| panic!("no circuitOpened in {status}"))
    }

    /// Health of a backend's target, by its place in the file.
    pub fn healthy(&self, backend: &str, target: usize) -> bool {
        let status = backend_status(self, backend);
        status["targets"][target]["healthy"].as_bool().unwrap_or_else(|| panic!("no healthy in {status}"))
    }

    /// Requests and tunnels in flight over all backends' targets.
    pub fn in_flight(&self) -> u64 {
        let status = self.admin_json("/_aegis/status");
        let backends = status["backends"].as_array().cloned().unwrap_or_default();
        let targets = backends.iter().flat_map(|b| b["targets"].as_array().cloned().unwrap_or_default());
        targets.map(|t| t["inFlight"].as_u64().unwrap_or_else(|| panic!("no inFlight in {t}"))).sum()
    }
}
