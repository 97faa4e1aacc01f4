"""Models on the Hugging Face hub: download and upload."""

from __future__ import annotations

from napari_melanoma.api.inputs import AnyPath, check_flag, check_name, to_bundle
from napari_melanoma.models.bundle import BundleInfo

__all__ = ["pull", "push"]


def pull(model: str, name: str | None = None) -> BundleInfo:
    """Download a model of the Hugging Face hub into the user's model folder.

    The files are downloaded once for each commit; a model that is already in the folder is not copied again.

    Parameters
    ----------
    model : str
        ``hf:owner/name@commit``; without a commit, or with a branch or a tag, the commit that it is at now.
    name : str, optional
        Name of the model in the folder; by default its own. It gets a number if another model has that name.

    Returns
    -------
    BundleInfo
        The model, which ``list_models`` and the docks list, too.

    Raises
    ------
    BundleError
        If the name has another form, there is no such model, or it cannot be downloaded or used.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> model = nm.pull("hf:our-clinic/lesion-2@4f1c0a9d2e6b8f7350c1d94ab6e82f0375d9c1e8")  # doctest: +SKIP
    """
    from napari_melanoma.models.hub import HubName, download_named, find_hub_bundle, pin
    from napari_melanoma.models.installed_bundles import install_bundle

    check_name(model, "model")
    check_name("" if name is None else name, "name")
    pinned = str(pin(HubName.parse(model)))
    download_named(pinned)
    return install_bundle(find_hub_bundle(pinned), name)


def push(model: AnyPath | BundleInfo, repository: str, *, public: bool = False, replace: bool = False) -> str:
    """Upload a model with its card to the Hugging Face hub.

    An earlier model in the repository is replaced. Log in before with ``hf auth login``, or set ``HF_TOKEN``;
    ``nm.export(model, "hub")`` writes the same files to a folder.

    Parameters
    ----------
    model : str or os.PathLike or BundleInfo
        As for ``load_model``.
    repository : str
        ``hf:owner/name``; it is created if it does not exist.
    public : bool
        Whether a new repository is public.
    replace : bool
        Replace files of another program in the repository.

    Returns
    -------
    str
        The name with its commit, ``hf:owner/name@commit``, which is accepted wherever a model is.

    Raises
    ------
    BundleError
        If the model has no card, the repository has files of another program, or the upload is not permitted.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> nm.push("runs/second", "hf:our-clinic/lesion-2")  # doctest: +SKIP
    'hf:our-clinic/lesion-2@4f1c0a9d2e6b8f7350c1d94ab6e82f0375d9c1e8'
    """
    from napari_melanoma.models.hub import HubName, push_bundle

    check_name(repository, "repository")
    check_flag(public, "public")
    check_flag(replace, "replace")
    return str(push_bundle(to_bundle(model), HubName.parse(repository), private=not public, replace=bool(replace)))
