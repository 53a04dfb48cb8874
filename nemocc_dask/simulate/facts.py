"""The small stock of questions and answers that a multilingual prompt is answered from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """A language: its name in an English prompt, and (question, answer) pairs in it."""

    name: str
    facts: tuple[tuple[str, str], ...]


_ENGLISH = (
    ("Which gas do plants take from the air for photosynthesis?", "They take in carbon dioxide."),
    ("How many bones does an adult human have?", "An adult usually has 206 bones."),
    ("At what temperature does water boil at sea level?", "It boils at 100 degrees Celsius."),
    ("Which planet is closest to the Sun?", "Mercury is the closest planet to the Sun."),
    ("What is the chemical symbol of gold?", "The chemical symbol of gold is Au."),
    ("What force keeps the planets in their orbits?", "The gravity of the Sun keeps them in their orbits."),
    ("Which part of a cell holds most of its DNA?", "Most of the DNA is held in the nucleus."),
    (
        "How long does light from the Sun take to reach the Earth?",
        "It takes a little more than eight minutes.",
    ),
    ("What is the hardest natural mineral?", "Diamond is the hardest natural mineral."),
    ("Which instrument measures air pressure?", "A barometer measures air pressure."),
    ("How many degrees do the angles of a triangle add up to?", "In a plane they add up to 180 degrees."),
    ("Which organ pumps blood through the body?", "The heart pumps blood through the body."),
)
_FRENCH = (
    (
        "Quel gaz les plantes absorbent-elles pour la photosynthèse ?",
        "Elles absorbent du dioxyde de carbone.",
    ),
    ("Combien d'os compte le squelette d'un adulte ?", "Il compte en général 206 os."),
    ("À quelle température l'eau bout-elle au niveau de la mer ?", "Elle bout à 100 degrés Celsius."),
    ("Quelle planète est la plus proche du Soleil ?", "Mercure est la planète la plus proche du Soleil."),
    ("Quel est le symbole chimique de l'argent ?", "Le symbole chimique de l'argent est Ag."),
    ("Quel fleuve traverse Paris ?", "La Seine traverse Paris."),
    (
        "Quelle partie de la cellule contient l'essentiel de l'ADN ?",
        "Le noyau contient l'essentiel de l'ADN.",
    ),
    ("Quel est le plus grand organe du corps humain ?", "La peau est le plus grand organe du corps humain."),
    ("Quel est l'élément chimique le plus léger ?", "L'hydrogène est l'élément le plus léger."),
    ("Quel instrument mesure la pression de l'air ?", "Le baromètre mesure la pression de l'air."),
    ("Combien de côtés possède un hexagone ?", "Un hexagone possède six côtés."),
    ("Quel est le plus haut sommet des Alpes ?", "Le mont Blanc est le plus haut sommet des Alpes."),
)
_GERMAN = (
    ("Welches Gas nehmen Pflanzen für die Photosynthese auf?", "Sie nehmen Kohlendioxid auf."),
    ("Wie viele Knochen hat ein erwachsener Mensch?", "Er hat in der Regel 206 Knochen."),
    ("Bei welcher Temperatur gefriert Wasser?", "Es gefriert bei null Grad Celsius."),
    ("Welcher Planet ist der größte des Sonnensystems?", "Jupiter ist der größte Planet."),
    ("Welches chemische Symbol hat Eisen?", "Eisen hat das Symbol Fe."),
    ("Wodurch entstehen Ebbe und Flut?", "Vor allem durch die Anziehungskraft des Mondes."),
    ("Welcher Teil der Zelle enthält den größten Teil der DNA?", "Der Zellkern enthält den größten Teil."),
    ("Wie viele Tage hat ein Schaltjahr?", "Ein Schaltjahr hat 366 Tage."),
    ("Welches ist das häufigste Gas der Luft?", "Stickstoff ist das häufigste Gas der Luft."),
    ("Womit misst man den Luftdruck?", "Man misst ihn mit einem Barometer."),
    ("Welche Farbe entsteht aus Blau und Gelb?", "Beim Mischen von Malfarben entsteht Grün."),
    ("Wer bestäubt die meisten Obstbäume?", "Die meisten Obstbäume werden von Bienen bestäubt."),
)
_SPANISH = (
    ("¿Qué gas absorben las plantas en la fotosíntesis?", "Absorben dióxido de carbono."),
    ("¿Cuántos huesos tiene un adulto?", "Un adulto suele tener 206 huesos."),
    ("¿A qué temperatura hierve el agua al nivel del mar?", "Hierve a 100 grados Celsius."),
    ("¿Cuál es el planeta más cercano al Sol?", "Mercurio es el planeta más cercano al Sol."),
    ("¿Cuál es el símbolo químico del sodio?", "El símbolo químico del sodio es Na."),
    ("¿Cuál es el océano más extenso?", "El océano Pacífico es el más extenso."),
    (
        "¿Qué parte de la célula contiene la mayor parte del ADN?",
        "El núcleo contiene la mayor parte del ADN.",
    ),
    ("¿Cuántos lados tiene un octágono?", "Un octágono tiene ocho lados."),
    ("¿Qué órgano bombea la sangre?", "El corazón bombea la sangre."),
    ("¿Qué instrumento mide los terremotos?", "El sismógrafo mide los terremotos."),
    ("¿Cuál es el metal líquido a temperatura ambiente?", "El mercurio es líquido a temperatura ambiente."),
    ("¿Cuál es el satélite natural de la Tierra?", "La Luna es el satélite natural de la Tierra."),
)
_ITALIAN = (
    ("Quale gas assorbono le piante nella fotosintesi?", "Assorbono anidride carbonica."),
    ("Quante ossa ha un adulto?", "Un adulto ha di solito 206 ossa."),
    ("A quale temperatura bolle l'acqua al livello del mare?", "Bolle a 100 gradi Celsius."),
    ("Qual è il pianeta più vicino al Sole?", "Mercurio è il pianeta più vicino al Sole."),
    ("Qual è il simbolo chimico del rame?", "Il simbolo chimico del rame è Cu."),
    ("Qual è il fiume più lungo d'Italia?", "Il Po è il fiume più lungo d'Italia."),
    ("Quale parte della cellula contiene quasi tutto il DNA?", "Il nucleo contiene quasi tutto il DNA."),
    ("Quanti minuti ci sono in un giorno?", "In un giorno ci sono 1440 minuti."),
    ("Quale organo filtra il sangue?", "I reni filtrano il sangue."),
    ("Con quale strumento si osservano le stelle?", "Le stelle si osservano con il telescopio."),
    ("Qual è il vulcano attivo più alto d'Europa?", "L'Etna è il vulcano attivo più alto d'Europa."),
    ("Di che cosa è fatto il ghiaccio?", "Il ghiaccio è acqua allo stato solido."),
)

LANGUAGES: Mapping[str, Language] = {
    "EN": Language("English", _ENGLISH),
    "FR": Language("French", _FRENCH),
    "DE": Language("German", _GERMAN),
    "ES": Language("Spanish", _SPANISH),
    "IT": Language("Italian", _ITALIAN),
}
"""By the code that stands in square brackets before an answer."""
