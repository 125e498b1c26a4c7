//! The controls and inputs of a running card, for a terminal.

use comfy_table::{Table, presets};

use crate::card::controls::{ControlInfo, Value};
use crate::card::inputs::InputInfo;

/// Returns the controls with their values and allowed values, under the names
/// of their classes, as `v4l2-ctl --list-ctrls` does.
pub fn controls(controls: &[ControlInfo]) -> String {
    let mut text = String::new();
    for class in controls.chunk_by(|a, b| a.class == b.class) {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&class[0].class);
        text.push_str("\n\n");
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        for control in class {
            table.add_row([
                control.name.clone(),
                control.kind.clone(),
                control
                    .value
                    .as_ref()
                    .map_or(String::new(), |value| shown(control, value)),
                takes(control),
            ]);
        }
        text.push_str(&table.trim_fmt());
    }
    text
}

/// Returns only the values, as `v4l2-ctl --get-ctrl` prints them.
pub fn values(controls: &[ControlInfo]) -> String {
    let line = |control: &ControlInfo| match &control.value {
        Some(value) => format!("{}: {}", control.name, shown(control, value)),
        None => format!("{}:", control.name),
    };
    controls.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Returns the inputs, with the selected one marked.
pub fn inputs(inputs: &[InputInfo]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for input in inputs {
        table.add_row([
            input.index.to_string(),
            input.name.clone(),
            if input.selected { "selected" } else { "" }.to_owned(),
            if input.signal { "" } else { "no signal" }.to_owned(),
        ]);
    }
    table.trim_fmt()
}

fn shown(control: &ControlInfo, value: &Value) -> String {
    match value {
        Value::Text(text) => format!("'{}'", text.escape_debug()),
        Value::Integer(value) => match control.menu.iter().find(|item| item.index == *value) {
            Some(item) => format!("{value} ({})", item.name),
            None if control.kind == "bitmask" => format!("{value:#x}"),
            None => value.to_string(),
        },
    }
}

fn takes(control: &ControlInfo) -> String {
    let ControlInfo {
        minimum,
        maximum,
        default,
        ..
    } = control;
    if !control.menu.is_empty() {
        let items = control.menu.iter();
        let items: Vec<_> = items
            .map(|item| format!("{} ({})", item.index, item.name))
            .collect();
        return items.join(", ");
    }
    match &*control.kind {
        "button" => String::new(),
        "bitmask" => format!("bits of {maximum:#x}"),
        "string" => format!("up to {maximum} bytes"),
        _ => format!("{minimum} to {maximum}, at first {default}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::controls::MenuItem;

    fn control(name: &str, kind: &str, value: Option<Value>) -> ControlInfo {
        ControlInfo {
            id: 1,
            name: name.into(),
            title: name.into(),
            class: "Class".into(),
            kind: kind.into(),
            minimum: 0,
            maximum: 15,
            default: 3,
            flags: 0,
            menu: Vec::new(),
            value,
        }
    }

    #[test]
    fn a_value_is_shown_as_its_kind_has_it() {
        let mut menu = control("pattern", "menu", Some(Value::Integer(1)));
        menu.menu = vec![MenuItem {
            index: 1,
            name: "Bars".into(),
        }];
        let all = [
            control("gain", "integer", Some(Value::Integer(5))),
            menu,
            control("bits", "bitmask", Some(Value::Integer(10))),
            control("text", "string", Some(Value::Text("a\x1b[2J".into()))),
            control("press", "button", None),
        ];
        assert_eq!(
            values(&all),
            "gain: 5\npattern: 1 (Bars)\nbits: 0xa\ntext: 'a\\u{1b}[2J'\npress:"
        );
        let text = controls(&all);
        assert!(text.starts_with("Class\n\n"), "{text}");
        for part in ["0 to 15, at first 3", "bits of 0xf", "up to 15 bytes"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
