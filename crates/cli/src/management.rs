//! Finding the management cluster: `--kubeconfig`, `KUBECONFIG`, or the local plane's data directory.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};
use windlass_manager::data_dir::DataDir;

use crate::failure::Failure;

/// Where the management cluster is.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ManagementArgs {
    /// Folder of the local plane [default: the XDG data directory, `windlass` in it]
    #[arg(long, value_name = "DIR", env = "WINDLASS_DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,

    /// Kubeconfig of a management cluster elsewhere; KUBECONFIG is used where no local plane exists
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,

    /// Context to use from the kubeconfig
    #[arg(long, value_name = "NAME", global = true)]
    pub kubeconfig_context: Option<String>,
}

impl ManagementArgs {
    /// Only the local plane: what starts and stops planes never touches a management cluster elsewhere.
    pub fn local(&self) -> Self {
        let dir = self.data_dir().ok().map(|dir| dir.path().to_path_buf());
        Self { data_dir: dir, kubeconfig: None, kubeconfig_context: None }
    }

    /// The data directory these arguments mean.
    pub fn data_dir(&self) -> Result<DataDir, Failure> {
        let path = match &self.data_dir {
            Some(path) => path.clone(),
            None => default_data_dir()?,
        };
        Ok(DataDir::new(path))
    }

    /// The kubeconfig of the management cluster: the flag, else the local plane's if there is one, else
    /// `KUBECONFIG`.
    fn kubeconfig_file(&self) -> Result<PathBuf, Failure> {
        if let Some(file) = &self.kubeconfig {
            return Ok(file.clone());
        }
        let explicit_plane = self.data_dir.is_some();
        let dir = self.data_dir()?;
        let local = dir.management_kubeconfig();
        if local.exists() {
            return match crate::commands::up::running(&dir)? {
                Some(_) => Ok(local),
                None => Err(Failure::new(format!("the plane in {} is not running", dir.path().display()))
                    .hint(format!("start it with: {}", again(self, "up --detach")))),
            };
        }
        match std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
            Some(file) if !explicit_plane => Ok(PathBuf::from(file)),
            Some(_) | None => Err(Failure::new(format!("there is no plane in {}", self.shown_data_dir()))
                .hint("`windlass quickstart` starts one with a first cluster, `windlass up` an empty one; --kubeconfig names a management cluster elsewhere")),
        }
    }

    fn shown_data_dir(&self) -> String {
        self.data_dir().map(|dir| dir.path().display().to_string()).unwrap_or_default()
    }

    /// A client of the management cluster and the namespace its context names.
    pub async fn client(&self) -> Result<Management, Failure> {
        let file = self.kubeconfig_file()?;
        let kubeconfig = Kubeconfig::read_from(&file).map_err(|error| {
            Failure::caused(format!("cannot read the kubeconfig {}", file.display()), error)
                .hint("name the kubeconfig of a management cluster with --kubeconfig or KUBECONFIG")
        })?;
        let options = KubeConfigOptions { context: self.kubeconfig_context.clone(), ..Default::default() };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| {
            Failure::caused(format!("cannot use the kubeconfig {}", file.display()), error)
                .hint("`kubectl config view` shows its contexts; --kubeconfig-context chooses one")
        })?;
        let namespace = config.default_namespace.clone();
        let client = kube::Client::try_from(config)
            .map_err(|error| Failure::caused("cannot make a client of the management cluster", error))?;
        Ok(Management { client, namespace })
    }
}

/// A management cluster that can be talked to.
pub struct Management {
    /// Its client.
    pub client: kube::Client,
    /// The namespace of the kubeconfig's context; `default` where it names none.
    pub namespace: String,
}

/// `$XDG_DATA_HOME/windlass`, else `~/.local/share/windlass` (XDG Base Directory Specification).
fn default_data_dir() -> Result<PathBuf, Failure> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("windlass"))
        .ok_or_else(|| {
            Failure::new("cannot tell where to keep data: neither XDG_DATA_HOME nor HOME is set")
                .hint("name a folder with --data-dir")
        })
}

/// The command a person would type next, with the flags needed to find the same plane again.
pub fn again(args: &ManagementArgs, command: &str) -> String {
    match &args.data_dir {
        Some(dir) if std::env::var_os("WINDLASS_DATA_DIR").is_none_or(|env| Path::new(&env) != dir) => {
            format!("windlass --data-dir {} {command}", dir.display())
        }
        Some(_) | None => format!("windlass {command}"),
    }
}
