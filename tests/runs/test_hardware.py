"""Machines by name: what is understood, what is refused and how."""

import pytest

from backend.errors import BadInput
from backend.runs.hardware import parse, parse_price


@pytest.mark.parametrize(("text", "n", "name", "memory"), [
    ("8xA100-80G", 8, "A100-80G", 80), ("1xH100-80G", 1, "H100-80G", 80), ("a100-40gb", 1, "A100-40G", 40),
    ("A100", 1, "A100-80G", 80), ("2xRTX4090", 2, "RTX4090-24G", 24), ("cpu:16x2.5GHz", 1, "cpu:16x2.5GHz", 64),
    ("CPU:4x3GHz-32G", 1, "CPU:4x3GHz-32G", 32)])
def test_a_machine_is_read_from_its_name(text, n, name, memory):
    found = parse(text)
    assert (found.n, found.device.name, found.device.memory) == (n, name, memory * 10**9)


@pytest.mark.parametrize(("text", "nodes", "n", "name"), [
    ("4x8xA100-80G", 4, 8, "A100-80G"), ("2x1xT4", 2, 1, "T4-16G"), ("3xCPU:4x3GHz", 3, 1, "CPU:4x3GHz")])
def test_machines_may_be_several_and_are_named_as_they_were_read(text, nodes, n, name):
    found = parse(text)
    assert (found.nodes, found.n, found.device.name) == (nodes, n, name)
    assert parse(str(found)) == found
    assert parse("8xA100-80G").nodes == 1


def test_rates_are_those_of_the_data_sheets_and_a_processor_s_of_its_clock():
    assert parse("A100").device.half == 312e12
    assert parse("8xA100-80G").device.single == 19.5e12  # without TF32
    cpu = parse("cpu:16x2.5GHz").device
    assert cpu.half == cpu.single == 16 * 2.5e9 * 32
    assert cpu.price == pytest.approx((0.48, 0.96))


@pytest.mark.parametrize(("text", "said"), [
    ("", "is no machine. Write for instance 8xA100-80G"), ("8 big ones", "is no machine"),
    ("8xZ900-80G", r"No device 'Z900' is known. Known: V100, .*processors as cpu:"),
    ("A100-81G", "There is no A100 with 81 GB. Known: A100-40G, A100-80G"),
    ("0xA100", "names 0 devices"), ("9999999xA100", "names 9,999,999 devices"),
    ("0x8xA100", "names 0 devices"), ("2x4x8xA100", "2x4x8xA100. is no machine"),
    ("cpu:16x0GHz", "its clock stands still"),
    ("cpu:16", "is no machine")])
def test_what_is_no_machine_is_refused_with_what_is_one(text, said):
    with pytest.raises(BadInput, match=said):
        parse(text)


def test_a_price_is_one_figure_or_two():
    assert parse_price("1.5-4") == (1.5, 4)
    assert parse_price("2") == (2, 2)
    for wrong in ("4-1", "dear", "-1", "1-inf", ""):
        with pytest.raises(ValueError):  # noqa: PT011  # argparse says the rest
            parse_price(wrong)
