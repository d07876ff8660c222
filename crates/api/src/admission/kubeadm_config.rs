//! The rules of KubeadmConfigs and their templates; KubeadmControlPlanes share them.

use std::collections::BTreeSet;

use super::error::Review;
use super::shared::validate_metadata;
use super::{Options, Rules};
use crate::bootstrap::{
    DiskSetup, Encoding, File, Format, Ignition, KubeadmConfig, KubeadmConfigSpec, KubeadmConfigTemplate,
    TableType, User,
};

impl Rules for KubeadmConfig {
    fn validate(&self, _old: Option<&Self>, _options: Options, review: &mut Review) {
        validate_spec("spec", &self.spec, review);
    }
}

impl Rules for KubeadmConfigTemplate {
    fn validate(&self, _old: Option<&Self>, _options: Options, review: &mut Review) {
        let template = &self.spec.template;
        validate_metadata("spec.template.metadata", &template.metadata, review);
        validate_spec("spec.template.spec", &template.spec, review);
    }
}

/// What kubeadm and a host are told, wherever it stands.
pub(super) fn validate_spec(field: &str, spec: &KubeadmConfigSpec, review: &mut Review) {
    validate_files(field, &spec.files, review);
    validate_users(field, &spec.users, review);
    validate_tokens(field, spec, review);
    validate_discovery(field, spec, review);
    validate_disks(field, &spec.disk_setup, review);
    match spec.format.unwrap_or_default() {
        Format::CloudConfig => {
            if spec.ignition != Ignition::default() {
                review.invalid(
                    format!("{field}.ignition"),
                    "set",
                    "belongs to format ignition; set the format or remove this",
                );
            }
        }
        Format::Ignition => validate_ignition(field, spec, review),
    }
}

fn validate_files(field: &str, files: &[File], review: &mut Review) {
    let mut paths = BTreeSet::new();
    for (at, file) in files.iter().enumerate() {
        let field = format!("{field}.files[{at}]");
        if file.content.is_some() && file.content_from.is_some() {
            review.invalid(&field, &file.path, "has both content and contentFrom; remove one");
        }
        if !paths.insert(&file.path) {
            review.duplicate(format!("{field}.path"), &file.path);
        }
    }
}

fn validate_users(field: &str, users: &[User], review: &mut Review) {
    for (at, user) in users.iter().enumerate() {
        if user.passwd.is_some() && user.passwd_from.is_some() {
            let field = format!("{field}.users[{at}]");
            review.invalid(field, &user.name, "has both passwd and passwdFrom; remove one");
        }
    }
}

/// Bootstrap tokens have the form that Kubernetes gives them.
fn validate_tokens(field: &str, spec: &KubeadmConfigSpec, review: &mut Review) {
    for (at, token) in spec.init_configuration.bootstrap_tokens.iter().enumerate() {
        if !is_bootstrap_token(token.token.expose()) {
            review.invalid(
                format!("{field}.initConfiguration.bootstrapTokens[{at}].token"),
                "[redacted]",
                "is no bootstrap token; write it as six, a dot and sixteen of a-z and 0-9",
            );
        }
    }
}

fn is_bootstrap_token(token: &str) -> bool {
    let part = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    token.split_once('.').is_some_and(|(id, secret)| part(id, 6) && part(secret, 16))
}

fn validate_discovery(field: &str, spec: &KubeadmConfigSpec, review: &mut Review) {
    let file = spec.join_configuration.discovery.file.as_ref();
    let Some(user) = file.and_then(|file| Some(&file.kube_config.as_ref()?.user)) else { return };
    let field = format!("{field}.joinConfiguration.discovery.file.kubeConfig.user");
    match (&user.auth_provider, &user.exec) {
        (Some(_), Some(_)) => review.invalid(field, "both", "has both authProvider and exec; remove one"),
        (None, None) => review.required(field, "set authProvider or exec"),
        (Some(_), None) | (None, Some(_)) => {}
    }
}

fn validate_disks(field: &str, disks: &DiskSetup, review: &mut Review) {
    for (at, partition) in disks.partitions.iter().enumerate() {
        let sum: i64 = partition.disk_layout.iter().map(|part| i64::from(part.percentage)).sum();
        if sum > 100 {
            review.invalid(
                format!("{field}.diskSetup.partitions[{at}].diskLayout"),
                &format!("{sum}%"),
                "the partitions together are larger than the disk; make their percentages at most 100",
            );
        }
    }
}

/// Ignition knows less than cloud-init.
fn validate_ignition(field: &str, spec: &KubeadmConfigSpec, review: &mut Review) {
    let mut refuse = |member: String, instead: &str| {
        review.forbidden(format!("{field}.{member}"), format!("Ignition cannot; {instead}"));
    };
    if !spec.boot_commands.is_empty() {
        refuse("bootCommands".to_owned(), "use preKubeadmCommands");
    }
    for (at, file) in spec.files.iter().enumerate() {
        if matches!(file.encoding, Some(Encoding::Gzip | Encoding::GzipBase64)) {
            refuse(format!("files[{at}].encoding"), "use base64 or plain text");
        }
    }
    for (at, user) in spec.users.iter().enumerate() {
        if user.inactive == Some(true) {
            refuse(format!("users[{at}].inactive"), "leave the user out");
        }
    }
    for (at, partition) in spec.disk_setup.partitions.iter().enumerate() {
        if partition.table_type == Some(TableType::Mbr) {
            refuse(format!("diskSetup.partitions[{at}].tableType"), "use gpt");
        }
    }
    for (at, filesystem) in spec.disk_setup.filesystems.iter().enumerate() {
        if filesystem.replace_fs.is_some() {
            refuse(format!("diskSetup.filesystems[{at}].replaceFS"), "remove it");
        }
        if filesystem.partition.is_some() {
            refuse(format!("diskSetup.filesystems[{at}].partition"), "remove it");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::Table;

    const CONFIG: &str = r#"{"metadata":{"name":"k"},"spec":{"verbosity":1}}"#;

    fn table() -> Table {
        Table::new("bootstrap.cluster.x-k8s.io", "KubeadmConfig", CONFIG)
    }

    #[test]
    fn what_a_config_may_be() {
        let secret = r#"{"secret":{"name":"s","key":"k"}}"#;
        let exec = r#""exec":{"command":"c"}"#;
        let provider = r#""authProvider":{"name":"p"}"#;
        let user = |user: &str| {
            format!(
                r#"spec.joinConfiguration={{"discovery":{{"file":{{"kubeConfigPath":"/k","kubeConfig":{{"user":{{{user}}}}}}}}}}}"#
            )
        };
        let tokens =
            |token: &str| format!(r#"spec.initConfiguration={{"bootstrapTokens":[{{"token":"{token}"}}]}}"#);
        let layout = |a: u8, b: u8| {
            format!(
                r#"spec.diskSetup={{"partitions":[{{"device":"d","diskLayout":[{{"percentage":{a}}},{{"percentage":{b}}}]}}]}}"#
            )
        };
        let at = "spec.joinConfiguration.discovery.file.kubeConfig.user";
        #[rustfmt::skip]
        table().create(&[
            ("",                                                                ""),
            ("spec=",                                                           ""),
            (r#"spec.files=[{"path":"/a","content":"x"},{"path":"/b"}]"#,       ""),
            (r#"spec.files=[{"path":"/a"},{"path":"/b"},{"path":"/a"}]"#,       "spec.files[2].path Duplicate"),
            (&format!(r#"spec.files=[{{"path":"/a","content":"x","contentFrom":{secret}}}]"#), "spec.files[0] Invalid"),
            (&format!(r#"spec.users=[{{"name":"u","passwd":"x","passwdFrom":{secret}}}]"#), "spec.users[0] Invalid"),
            (&format!(r#"spec.users=[{{"name":"u","passwdFrom":{secret}}}]"#),  ""),
            (&tokens("abcdef.0123456789abcdef"),                                ""),
            (&tokens("abcdef.0123456789ABCDEF"),                                "spec.initConfiguration.bootstrapTokens[0].token Invalid"),
            (&tokens("secret"),                                                 "spec.initConfiguration.bootstrapTokens[0].token Invalid"),
            (&user(exec),                                                       ""),
            (&user(provider),                                                   ""),
            (&user(""),                                                         &format!("{at} Required")),
            (&user(&format!("{exec},{provider}")),                              &format!("{at} Invalid")),
            (&layout(40, 60),                                                   ""),
            (&layout(41, 60),                                                   "spec.diskSetup.partitions[0].diskLayout Invalid"),
            (r#"spec.ignition={"containerLinuxConfig":{"strict":true}}"#,       "spec.ignition Invalid"),
            (r#"spec.ignition={"containerLinuxConfig":{"strict":true}} spec.format="cloud-config""#, "spec.ignition Invalid"),
            (r#"spec.format="ignition""#,                                       ""),
            (r#"spec.bootCommands=["x"] spec.diskSetup={"partitions":[{"device":"d","layout":true,"tableType":"mbr"}]}"#, ""),
        ]);
    }

    #[test]
    fn ignition_knows_less() {
        let format = r#"spec.format="ignition""#;
        #[rustfmt::skip]
        let rows = [
            ("",                                                                         ""),
            (r#"spec.ignition={"containerLinuxConfig":{"strict":true}}"#,                ""),
            (r#"spec.bootCommands=["x"]"#,                                               "spec.bootCommands Forbidden"),
            (r#"spec.files=[{"path":"/a","encoding":"base64"}]"#,                        ""),
            (r#"spec.files=[{"path":"/a","encoding":"gzip"}]"#,                          "spec.files[0].encoding Forbidden"),
            (r#"spec.files=[{"path":"/a","encoding":"gzip+base64"}]"#,                   "spec.files[0].encoding Forbidden"),
            (r#"spec.users=[{"name":"u","inactive":true}]"#,                             "spec.users[0].inactive Forbidden"),
            (r#"spec.diskSetup={"partitions":[{"device":"d","layout":true,"tableType":"mbr"}]}"#, "spec.diskSetup.partitions[0].tableType Forbidden"),
            (r#"spec.diskSetup={"partitions":[{"device":"d","layout":true,"tableType":"gpt"}]}"#, ""),
            (r#"spec.diskSetup={"filesystems":[{"device":"d","filesystem":"ext4","replaceFS":"ntfs"}]}"#, "spec.diskSetup.filesystems[0].replaceFS Forbidden"),
            (r#"spec.diskSetup={"filesystems":[{"device":"d","filesystem":"ext4","partition":"auto"}]}"#, "spec.diskSetup.filesystems[0].partition Forbidden"),
        ];
        for (change, expected) in rows {
            table().create(&[(&format!("{format} {change}"), expected)]);
        }
    }

    #[test]
    fn templates_have_the_same_rules_further_down() {
        let template = r#"{"metadata":{"name":"t"},"spec":{"template":{"spec":{"verbosity":1}}}}"#;
        Table::new("bootstrap.cluster.x-k8s.io", "KubeadmConfigTemplate", template).create(&[
            ("", ""),
            (
                r#"spec.template.spec.files=[{"path":"/a"},{"path":"/a"}]"#,
                "spec.template.spec.files[1].path Duplicate",
            ),
            (r#"spec.template.metadata={"labels":{"a":"!"}}"#, "spec.template.metadata.labels Invalid"),
        ]);
    }

    #[test]
    fn a_bad_token_is_not_shown() {
        let errors = table().errors(r#"spec.initConfiguration={"bootstrapTokens":[{"token":"hunter2"}]}"#);
        assert!(!errors.is_empty() && !errors.contains("hunter2"), "{errors}");
    }
}
