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
        crate::rights::deed(*privilege)
    )]
    NoRight { user: String, privilege: Privilege, purpose: Purpose },
    #[error(transparent)]
    Engine(EngineError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl QueryError {
    pub fn exit(&self) -> ExitKind {
        match self {
            Self::NothingGranted { .. } | Self::NoRight { .. } => ExitKind::Denied,
            Self::Engine(error) => engine_exit(error).1,
            Self::Run(error) => error.exit(),
        }
    }

    /// For the audit log and for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NothingGranted { .. } | Self::NoRight { .. } => "denied",
            Self::Engine(error) => engine_exit(error).0,
            Self::Run(error) => error.kind(),
        }
    }
}
