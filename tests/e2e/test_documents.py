"""What the documents for users say, done as it is written there."""

from lib import document, sanitized, skip, topology


@topology(timeout=240)
def test_C2_the_readme_leads_from_nothing_to_two_hosts(d1, d2):
    assert document.run("README.md", [d1, d2]) >= 5


@topology(timeout=400)
def test_C2_the_howto_for_docker(d1, d2):
    document.run("docs/howto/docker.md", [d1, d2])


@topology(timeout=400)
def test_C2_the_howto_for_the_managed_plugin(d1, d2):
    if sanitized():
        skip("programs with sanitizers cannot be static")
    document.run("docs/howto/docker-plugin.md", [d1, d2])


@topology(timeout=400)
def test_C2_troubleshooting_by_symptom(d1, d2):
    document.run("docs/howto/troubleshooting.md", [d1, d2])


@topology(timeout=120)
def test_C6_a_service_is_exported_as_described(d1, d2, d3):
    document.run("docs/howto/export.md", [d1, d2, d3])


@topology(timeout=120)
def test_C6_a_service_is_imported_as_described(d1, d2, d3):
    document.run("docs/howto/import.md", [d1, d2, d3])


@topology(timeout=120)
def test_C6_a_service_is_bound_as_described(d1, d2, d3):
    document.run("docs/howto/bind.md", [d1, d2, d3])


@topology(timeout=120)
def test_C6_an_outside_subnet_is_routed_to_as_described(d1, d2, d3):
    document.run("docs/howto/route.md", [d1, d2, d3])
