"""The tools around scikit-learn: `bash .ci/ecosystem` installs them and runs this.

The names of tools, as packages, are those of docs/works_with.csv and of the extra.
"""
