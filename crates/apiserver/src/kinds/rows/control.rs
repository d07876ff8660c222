//! Coordination, identity, access, and extensions of the API itself.

use super::super::subresource::APPROVAL;
use super::super::{Generation, Hook};
use super::{CRD, FLOW, RBAC, REVIEW, ROW, Row, WEBHOOKS, WIDE};

pub(super) const ROWS: &[Row] = &[
    Row {
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        definition: "api.coordination.v1.Lease",
        ..ROW
    },
    Row {
        group: "certificates.k8s.io",
        kind: "CertificateSigningRequest",
        plural: "certificatesigningrequests",
        short: &["csr"],
        definition: "api.certificates.v1.CertificateSigningRequest",
        status: true,
        more: &[&APPROVAL],
        fields: &[("spec.signerName", "")],
        ..WIDE
    },
    Row { kind: "Role", plural: "roles", definition: "api.rbac.v1.Role", ..RBAC },
    Row { kind: "RoleBinding", plural: "rolebindings", definition: "api.rbac.v1.RoleBinding", ..RBAC },
    Row {
        kind: "ClusterRole",
        plural: "clusterroles",
        namespaced: false,
        definition: "api.rbac.v1.ClusterRole",
        ..RBAC
    },
    Row {
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        namespaced: false,
        definition: "api.rbac.v1.ClusterRoleBinding",
        ..RBAC
    },
    Row {
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        definition: "api.authorization.v1.SelfSubjectAccessReview",
        hook: Hook::SelfSubjectAccessReview,
        ..REVIEW
    },
    Row {
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        definition: "api.authorization.v1.SelfSubjectRulesReview",
        hook: Hook::SelfSubjectRulesReview,
        ..REVIEW
    },
    Row {
        kind: "SubjectAccessReview",
        plural: "subjectaccessreviews",
        definition: "api.authorization.v1.SubjectAccessReview",
        hook: Hook::SubjectAccessReview,
        ..REVIEW
    },
    Row {
        kind: "LocalSubjectAccessReview",
        plural: "localsubjectaccessreviews",
        namespaced: true,
        definition: "api.authorization.v1.LocalSubjectAccessReview",
        hook: Hook::LocalSubjectAccessReview,
        ..REVIEW
    },
    Row {
        group: "authentication.k8s.io",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        definition: "api.authentication.v1.SelfSubjectReview",
        hook: Hook::SelfSubjectReview,
        ..WIDE
    },
    Row {
        group: "authentication.k8s.io",
        kind: "TokenReview",
        plural: "tokenreviews",
        definition: "api.authentication.v1.TokenReview",
        hook: Hook::TokenReview,
        ..WIDE
    },
    // Extensions of the API itself.
    Row {
        group: "apiextensions.k8s.io",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        short: &["crd", "crds"],
        categories: &["api-extensions"],
        definition: CRD,
        folder: "apiextensions.k8s.io/customresourcedefinitions",
        status: true,
        generation: Generation::Spec,
        hook: Hook::CustomResourceDefinition,
        ..WIDE
    },
    Row {
        group: "apiregistration.k8s.io",
        kind: "APIService",
        plural: "apiservices",
        categories: &["api-extensions"],
        definition: "kube-aggregator.pkg.apis.apiregistration.v1.APIService",
        folder: "apiregistration.k8s.io/apiservices",
        status: true,
        ..WIDE
    },
    Row {
        kind: "ValidatingWebhookConfiguration",
        plural: "validatingwebhookconfigurations",
        definition: "api.admissionregistration.v1.ValidatingWebhookConfiguration",
        ..WEBHOOKS
    },
    Row {
        kind: "MutatingWebhookConfiguration",
        plural: "mutatingwebhookconfigurations",
        definition: "api.admissionregistration.v1.MutatingWebhookConfiguration",
        ..WEBHOOKS
    },
    Row { kind: "FlowSchema", plural: "flowschemas", definition: "api.flowcontrol.v1.FlowSchema", ..FLOW },
    Row {
        kind: "PriorityLevelConfiguration",
        plural: "prioritylevelconfigurations",
        definition: "api.flowcontrol.v1.PriorityLevelConfiguration",
        ..FLOW
    },
];
