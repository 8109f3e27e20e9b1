# Clients of Flight SQL: flight.py WHAT URI CA USER PASSWORD. Prints JSON.
import json
import sys

import adbc_driver_manager
import pandas
import polars
import pyarrow
import pyarrow.flight
from adbc_driver_flightsql import dbapi

what, uri, ca, user, password = sys.argv[1:6]
PREFIX = "adbc.flight.sql."


def connect(purpose="research", **more):
    options = {PREFIX + "client_option.tls_root_certs": open(ca).read()}
    if user:
        options |= {"username": user, "password": password}
    if purpose:
        options[PREFIX + "rpc.call_header.x-cordon-purpose"] = purpose
    return dbapi.connect(uri, db_kwargs=options | more, autocommit=True)


def told(work):
    try:
        return work()
    except adbc_driver_manager.Error as error:
        return {"status": error.status_code.name, "error": str(error)}
    except (pyarrow.ArrowException, OSError) as error:
        return {"status": type(error).__name__, "error": str(error)}


def say(value):
    print(json.dumps(value, default=str), flush=True)


def answers():
    sql = "SELECT * FROM visits ORDER BY points"
    with connect() as connection, connection.cursor() as cursor:
        def ask(sql, parameters=None):
            cursor.execute(sql, parameters)
            return cursor.fetchall()

        def prepared(sql):
            schema = cursor.adbc_prepare(sql)
            return [str(field.type) for field in schema]

        limited = "SELECT count(*) FROM visits WHERE points < $1 AND points >= $2"
        objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
        say({
            "pandas": pandas.read_sql(sql, connection).astype(object).to_dict("records"),
            "polars": polars.read_database(sql, connection).to_dicts(),
            "none": cursor.execute("SELECT points FROM visits WHERE false").fetch_arrow_table().schema.names,
            "large": sum(len(batch) for batch in cursor.execute("SELECT a.points FROM visits a, visits b, visits c LIMIT 300000").fetch_record_batch()),
            "parameters": [told(lambda: ask(limited, values)) for values in [(100, 10), (7, None), ("7", 5)]],
            "injected": ask("SELECT count(*) FROM visits WHERE code = $1", ["' OR true --"]),
            "missing": told(lambda: ask(limited, [100])),
            "prepared": prepared(limited),
            "schema": cursor.adbc_execute_schema(sql).names,
            "objects": [
                (catalog["catalog_name"], schema["db_schema_name"], table["table_name"], [column["column_name"] for column in table["table_columns"]])
                for catalog in objects for schema in catalog["catalog_db_schemas"] for table in schema["db_schema_tables"]
            ],
            "table": connection.adbc_get_table_schema("visits").names,
            "hidden": told(lambda: connection.adbc_get_table_schema("costs").names),
            "types": connection.adbc_get_table_types(),
            "info": connection.adbc_get_info()["vendor_name"],
            "errors": {sql: told(lambda: ask(sql)) for sql in [
                "SELECT patient FROM visits", "SELECT * FROM costs", "SELECT * FROM nothing", "DROP TABLE visits",
                "INSERT INTO visits VALUES (1)", "SELEC 1", "SELECT 1 / (points - points) FROM visits",
                "SELECT a.points FROM visits a, visits b, visits c, visits d",
            ]},
            "ingest": told(lambda: cursor.adbc_ingest("visits", pyarrow.table({"points": [1]}), mode="append")),
            "many": told(lambda: cursor.executemany("SELECT $1", [[1], [2]])),
        })
    say({purpose: told(lambda: connect(purpose).cursor().execute(sql)) for purpose in ["", "curiosity", "operations"]})


def raw():
    client = pyarrow.flight.FlightClient(uri, tls_root_certs=open(ca).read())
    token = client.authenticate_basic_token(user, password)
    options = pyarrow.flight.FlightCallOptions(headers=[token, (b"x-cordon-purpose", b"research")])

    def part(number, value):
        length, size = len(value), b""
        while length > 127:
            size, length = size + bytes([length % 128 + 128]), length // 128
        return bytes([number * 8 + 2]) + size + bytes([length]) + value

    def descriptor(sql):
        url = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
        return pyarrow.flight.FlightDescriptor.for_command(part(1, url) + part(2, part(1, sql.encode())))

    def fetch(info, options=options):
        return client.do_get(info.endpoints[0].ticket, options).read_all().num_rows

    def act(name, body):
        return [result.body.to_pybytes().hex() for result in client.do_action(pyarrow.flight.Action(name, body), options)]

    def cancel(info):
        return act("CancelFlightInfo", part(1, info.serialize()))

    few, long = "SELECT points FROM visits", "SELECT a.points FROM visits a, visits b, visits c, visits d"
    info = client.get_flight_info(descriptor(few), options)
    other = client.authenticate_basic_token(user, password)
    other = pyarrow.flight.FlightCallOptions(headers=[other, (b"x-cordon-purpose", b"research")])
    stolen = told(lambda: fetch(info, other))
    once, again = fetch(info), told(lambda: fetch(info))
    unused = client.get_flight_info(descriptor(few), options)
    cancelled = cancel(unused)
    info = client.get_flight_info(descriptor(long), options)
    reader = client.do_get(info.endpoints[0].ticket, options)
    reader.read_chunk()
    cancel(info)
    # Not by `read_all`, which takes what is cancelled for a key of the user's.
    cut = told(lambda: [chunk.data.num_rows for chunk in reader][:0])
    closed = act("CloseSession", b"")
    say({
        "schema": info.schema.names, "once": once, "again": again, "stolen": stolen, "cancelled": cancelled,
        "unused": told(lambda: fetch(unused, other)), "cut": cut, "closed": closed,
        "after": told(lambda: client.get_flight_info(descriptor(few), options)),
        "others": client.get_flight_info(descriptor(few), other).schema.names,
        "actions": [action.type for action in client.list_actions(other)],
        "wrong": told(lambda: client.authenticate_basic_token(user, "not the password")),
        "exchange": told(lambda: client.do_exchange(descriptor(few), other)[1].read_chunk()),
        "flights": told(lambda: list(client.list_flights(options=other))),
    })


def header(value, **more):
    connection = connect(**({PREFIX + "authorization_header": value} if value else {}), **more)
    say(told(lambda: connection.cursor().execute("SELECT count(*) FROM visits").fetchall()))
    say(told(lambda: connection.cursor().execute("SELECT count(*) FROM visits").fetchall()))
    connection.close()


def follow():
    """Reads until a line comes, and then to the end."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT a.points, b.code FROM visits a, visits b, visits c, visits d")
        reader = cursor.fetch_record_batch()
        say(reader.read_next_batch().num_rows > 0)
        sys.stdin.readline()
        say(told(lambda: sum(len(batch) for batch in reader)))


if what == "header":
    header(sys.argv[6])
elif what == "certificate":
    pem, key = sys.argv[6:8]
    header(None, **{
        PREFIX + "client_option.mtls_cert_chain": open(pem).read(),
        PREFIX + "client_option.mtls_private_key": open(key).read(),
    })
else:
    {"answers": answers, "raw": raw, "follow": follow}[what]()
