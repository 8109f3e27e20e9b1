use cordon_access::{Privilege, Purpose};
use cordon_engine::EngineError;
use cordon_pipeline::error::{ExitKind, RunError, engine_exit};
use thiserror::Error;

/// Why a question has no answer. No variant holds a value of the data or a literal of the question.
#[derive(Debug, Error)]
pub enum QueryError {
    /// No dataset is open to the user for the purpose.
    #[error(
        "`{user}` may read nothing for {purpose}\n  help: users and their grants are in cordon.yaml under `access`; \
         a grant holds for the purposes that it names"
    )]
    NothingGranted { user: String, purpose: Purpose },
    /// What leads back to persons takes an action of its own.
    #[error(
        "`{user}` may not {} for {purpose}\n  help: it takes a role with `actions: [{{ allow: [{privilege}], purposes: \
         [{purpose}] }}]` in cordon.yaml; reading tables does not imply it",
        privilege.deed()
    )]
    NoRight { user: String, privilege: Privilege, purpose: Purpose },
    /// An emergency without a reason, or one that says nothing.
    #[error(
        "say why, in at least 8 characters: an access in an emergency goes on the record with its reason and is reviewed"
    )]
    NoReason,
    #[error(transparent)]
    Engine(EngineError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl QueryError {
    pub fn exit(&self) -> ExitKind {
        match self {
            Self::NothingGranted { .. } | Self::NoRight { .. } => ExitKind::Denied,
            Self::NoReason => ExitKind::Usage,
            Self::Engine(error) => engine_exit(error).1,
            Self::Run(error) => error.exit(),
        }
    }

    /// For the audit log and for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NothingGranted { .. } | Self::NoRight { .. } => "denied",
            Self::NoReason => "usage",
            Self::Engine(error) => engine_exit(error).0,
            Self::Run(error) => error.kind(),
        }
    }
}
