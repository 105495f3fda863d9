"""The Helm chart `deploy/helm/tes`, made of what kustomize renders, so that `deploy/k8s` is the one source of both."""
