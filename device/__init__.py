"""What runs on a device, or beside it: its identity, and the messages it publishes.

Each command is a module. ``python -m device.publish`` needs an identity and nothing else; the
others need AWS credentials: ``device.provision`` gives a device its identity, ``device.rotate``
replaces its key and certificate, ``device.revoke`` takes them out of use, ``device.list`` tells
who is there, and ``device.doctor`` finds out why a message does not appear.

An identity is a folder, ``certs/{environment}/{thing}/``, that every MQTT client can use:

- ``private.key``: the key, PEM (PKCS #8, EC P-256); readable by its owner alone
- ``certificate.pem``: the client certificate, PEM
- ``ca.pem``: what the broker's certificate must be signed by, PEM
- ``device.json``: ``endpoint``, ``port``, ``environment``, ``thing_name`` (also the MQTT client
  id), ``certificate_id`` and ``certificate_arn``

So, with Eclipse paho-mqtt::

    folder = Path("certs/dev/sensor-1")
    device = json.loads((folder / "device.json").read_text())
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, device["thing_name"], protocol=mqtt.MQTTv5
    )
    client.tls_set(f"{folder}/ca.pem", f"{folder}/certificate.pem", f"{folder}/private.key")
    client.connect(device["endpoint"], device["port"])
    client.loop_start()
    client.publish("dt/dev/sensor-1/telemetry", payload, qos=1).wait_for_publish()
"""
