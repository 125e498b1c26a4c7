//! What every page has: its policy, its style, and the hatching of drawings.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// The policy that allows the page its own style, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Returns a page with that body, whose evidence has so many columns.
pub fn document(title: &str, columns: usize, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
                style { ":root { --kernels: " (columns) "; }" }
            }
            body {
                (defs())
                (body)
            }
        }
    };
    page.into_string()
}

/// Returns the hatching of differing parts, for all drawings.
fn defs() -> Markup {
    html! {
        svg #defs aria-hidden="true" {
            defs {
                pattern #differs width="6" height="6" patternUnits="userSpaceOnUse" {
                    path d="M-1 1 1-1M0 6 6 0M5 7 7 5" {}
                }
            }
        }
    }
}
