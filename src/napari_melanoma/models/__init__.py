"""Networks, bundles, published weights and export."""
